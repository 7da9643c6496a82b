//! The frame of every page for people: plain HTML with one style, that works without its script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(super) const STYLE: &str = include_str!("landing.css");

/// A page. `description`: for search engines. `script`: the text of its script.
pub(super) fn page(
    title: &str,
    description: Option<&str>,
    script: Option<&str>,
    main: &Markup,
    foot: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(description) = description { meta name="description" content=(description); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (main) }
                footer { p { (foot) } }
                @if let Some(script) = script { script { (PreEscaped(script)) } }
            }
        }
    }
}
