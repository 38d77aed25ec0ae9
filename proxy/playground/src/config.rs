//! The configuration file of each proxy.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::layout::{Layout, Proxy, url};

/// The file for `proxy`, in TOML. Only addresses and fixed names go in, so nothing needs escaping.
pub(crate) fn toml(layout: &Layout, proxy: &Proxy) -> String {
    let advertise: Vec<_> = layout.proxies.iter().map(|proxy| quoted(&proxy.url)).collect();
    let mut text = format!(
        "# Written by the playground at every start: changes made here are lost.\n\n\
         [listen]\nclient = \"{}\"\nadmin = \"{}\"\nadvertise = [{}]\n",
        proxy.client,
        proxy.admin,
        advertise.join(", ")
    );
    for shard in &layout.shards {
        // Writing to a String cannot fail.
        let _ =
            write!(text, "\n[[shard]]\nname = \"{}\"\nendpoints = [\"{}\"]\n", shard.name, url(shard.client));
    }
    for shard in &layout.shards {
        let _ = write!(text, "\n[[route]]\nname = \"{}\"\n", shard.name);
        if !shard.prefixes.is_empty() {
            let prefixes: Vec<_> = shard.prefixes.iter().map(quoted).collect();
            let _ = writeln!(text, "prefixes = [{}]", prefixes.join(", "));
        }
        let _ = writeln!(text, "shard = \"{}\"", shard.route_on);
    }
    text
}

fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}
