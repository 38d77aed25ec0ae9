//! How figures are written.

use comfy_table::{CellAlignment, Table, presets};

use crate::ladder::Spread;

/// A Markdown table.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three digits are all that a measurement is worth.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(crate) fn number_or_dash(value: Option<f64>) -> String {
    value.map_or_else(dash, number)
}

/// The median, and the least and the most in brackets.
pub(crate) fn spread(spread: Option<Spread>) -> String {
    let Some(Spread { median, least, most }) = spread else { return dash() };
    if least == most {
        number(median)
    } else {
        format!("{} ({}-{})", number(median), number(least), number(most))
    }
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, text) in
            [(0.0, "0.00"), (1.234, "1.23"), (-12.34, "-12.3"), (123.4, "123"), (12345.6, "12346")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn spreads() {
        assert_eq!(spread(None), "-");
        assert_eq!(spread(Spread::of([2.0].into_iter())), "2.00");
        assert_eq!(spread(Spread::of([2.0, 1.0, 30.0].into_iter())), "2.00 (1.00-30.0)");
    }
}
