//! `report.html`: a finished run on one page that needs nothing but a browser.
//!
//! No script, no font and no picture is loaded from anywhere: curves are SVG drawn here, numbers appear when hovered through SVG's own
//! titles, light and dark follow the reader's system. Everything that came out of a run is escaped, since a policy may well say `<b>`.

mod chart;
mod compare;
mod conversation;
mod curves;
mod headline;
mod health;
mod html;
mod incidents;
mod picture;
pub(crate) mod statistics;
mod summary;

#[cfg(test)]
mod tests;

use stateset_domain::StepMetrics;
use stateset_telemetry::TimedEvent;

pub(crate) use compare::{Comparison, Recipe, Run};
pub use conversation::{Conversation, Pair};
pub use summary::{Measure, Summary};

/// Everything the page is made from.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The run's name.
    pub name: &'a str,
    /// Its result.
    pub summary: &'a Summary,
    /// A row for every step, in order.
    pub metrics: &'a [StepMetrics],
    /// What happened on the way, in order.
    pub events: &'a [TimedEvent],
    /// The same held-out scenarios, played by the base policy and by the final one.
    pub conversations: &'a [Pair],
    /// The configuration as it was run.
    pub config: &'a str,
}

const STYLE: &str = include_str!("style.css");

impl Report<'_> {
    /// The page.
    #[must_use]
    pub fn render(&self) -> String {
        let name = html::escape(self.name);
        let sections = [
            headline::section(self.summary),
            curves::section(self.metrics, self.summary),
            conversation::section(self.conversations),
            health::section(&self.summary.health, self.events),
            incidents::section(self.events),
            format!(
                "<section><h2>Configuration</h2><details><summary>config.yaml</summary><pre>{}</pre></details></section>",
                html::escape(self.config)
            ),
        ];
        page("training report", &name, &sections.join("\n"))
    }
}

fn page(kind: &str, name: &str, sections: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{name} · {kind}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header><p>StateSet Agents · {kind}</p><h1>{name}</h1></header>\n\
         <main>\n{sections}\n</main>\n</body>\n</html>\n",
    )
}
