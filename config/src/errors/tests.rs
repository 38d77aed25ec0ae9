use super::*;

fn problem(text: &str, at: &str, message: &str) -> Problem {
    let start = text.find(at).expect("part of the text");
    Problem {
        span: start..start + at.len(),
        message: message.to_owned(),
        help: "do better".to_owned(),
        related: None,
        absence: false,
    }
}

#[test]
fn positions_count_characters_from_one() {
    let check = |text: &str, offset: usize, expected| assert_eq!(position(text, offset), expected);
    check("", 0, (1, 1));
    check("ab", 1, (1, 2));
    check("a\nbc", 2, (2, 1));
    check("é=1\n", 2, (1, 2));
    check("é", 1, (1, 1));
    check("a\n", 99, (2, 1));
}

#[test]
fn each_mistake_is_shown_with_its_line_and_in_file_order() {
    let text = "name = \"é\"\nshard = \"pod\"\n";
    let problems = vec![problem(text, "\"pod\"", "second"), problem(text, "\"é\"", "first")];
    let shown = Diagnostics::new("prism.toml", text, problems).to_string();
    let expected = "\
error: first
 --> prism.toml:1:8
  |
1 | name = \"é\"
  |        ^^^
  |
  = help: do better

error: second
 --> prism.toml:2:9
  |
2 | shard = \"pod\"
  |         ^^^^^
  |
  = help: do better

2 errors in prism.toml";
    assert_eq!(shown, expected);
}

#[test]
fn a_long_span_is_cut_at_its_line() {
    let text = "a = [\n1,\n2]\n";
    let shown = Diagnostics::new("f", text, vec![problem(text, "[\n1,\n2]", "m")]);
    assert_eq!(shown.list[0].span, 4..5);
}

#[test]
fn secrets_are_masked_in_what_is_shown() {
    let text = "password = \"hunter2\"\n";
    let errors = Diagnostics::new("f", text, vec![problem(text, "password", "unknown key")]);
    assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
}
