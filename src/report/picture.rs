//! Small multiples as one SVG file, for a page that is not ours: a recipe a field, its seeds a band around their mean.

use super::chart::Curve;
use super::html::escape;

const COLUMNS: usize = 4;
const CELL: (f64, f64) = (236.0, 150.0);
/// Room within a field: left, right, top, bottom.
const ROOM: (f64, f64, f64, f64) = (44.0, 10.0, 30.0, 22.0);

const STYLE: &str = "text { font: 11px system-ui, sans-serif; fill: #5d6b7a } .name { font-size: 12.5px; font-weight: 600; fill: #16202c } \
    .grid { stroke: #d4dae1 } .mean { fill: none; stroke: #2563c9; stroke-width: 2 } .band { fill: #2563c9; opacity: .18 } \
    @media (prefers-color-scheme: dark) { text { fill: #93a1b0 } .name { fill: #e6ebf1 } .grid { stroke: #3a4653 } \
    .mean { stroke: #6ea8fe } .band { fill: #6ea8fe } }";

/// One recipe's field.
pub(super) struct Field<'a> {
    /// Shares, by step.
    pub(super) curve: Curve<'a>,
    /// What it came to, in words.
    pub(super) result: String,
}

/// All fields, row by row.
pub(super) fn draw(fields: &[Field<'_>]) -> String {
    let rows = fields.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (CELL.0 * COLUMNS.min(fields.len().max(1)) as f64, CELL.1 * rows as f64);
    let last = fields.iter().flat_map(|field| &field.curve.mean).map(|(step, _)| *step).max().unwrap_or(1).max(1);
    let field = |(at, field): (usize, &Field<'_>)| {
        let (x, y) = (CELL.0 * (at % COLUMNS) as f64, CELL.1 * (at / COLUMNS) as f64);
        format!("<g transform=\"translate({x} {y})\">{}</g>\n", field.draw(last))
    };
    let drawn: String = fields.iter().enumerate().map(field).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Success rate by step\">\n<style>{STYLE}</style>\n{drawn}</svg>\n"
    )
}

impl Field<'_> {
    fn draw(&self, last: u64) -> String {
        let x = |step: u64| ROOM.0 + step as f64 / last as f64 * (CELL.0 - ROOM.0 - ROOM.1);
        let y = |share: f64| ROOM.2 + (1.0 - share) * (CELL.1 - ROOM.2 - ROOM.3);
        let place = |step: u64, share: f64| format!("{:.1},{:.1}", x(step), y(share));
        let grid = [0.0, 0.5, 1.0].map(|share| {
            let (from, to, at) = (ROOM.0, CELL.0 - ROOM.1, y(share));
            format!(
                "<line class=\"grid\" x1=\"{from}\" x2=\"{to}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
                from - 5.0,
                at + 4.0,
                100.0 * share
            )
        });
        let steps = [0, last].map(|step| {
            format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{step}</text>", x(step), CELL.1 - ROOM.3 + 15.0)
        });
        let Curve { name, mean, band } = &self.curve;
        // A run that samples nothing has no curve.
        let band: Vec<_> = band.iter().filter(|(_, low, high)| low.is_finite() && high.is_finite()).collect();
        let mean = mean.iter().filter(|(_, share)| share.is_finite());
        let there = band.iter().map(|(step, _, high)| place(*step, *high));
        let back = band.iter().rev().map(|(step, low, _)| place(*step, *low));
        let band: Vec<String> = there.chain(back).collect();
        let mean: Vec<String> = mean.map(|(step, share)| place(*step, *share)).collect();
        format!(
            "<text class=\"name\" x=\"{}\" y=\"18\">{}</text><text x=\"{}\" y=\"18\" text-anchor=\"end\">{}</text>{}{}\
             <polygon class=\"band\" points=\"{}\"/><polyline class=\"mean\" points=\"{}\"/>",
            ROOM.0,
            escape(name),
            CELL.0 - ROOM.1,
            escape(&self.result),
            grid.concat(),
            steps.concat(),
            band.join(" "),
            mean.join(" "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field<'_> {
        let curve = Curve { name, mean: vec![(1, 0.25), (2, 1.0)], band: vec![(1, 0.2, 0.3), (2, 1.0, 1.0)] };
        Field { curve, result: "24 to 98 %".to_owned() }
    }

    #[test]
    fn every_recipe_has_a_field_and_rows_are_filled_from_the_left() {
        let svg = draw(&[field("a"), field("b"), field("<c>"), field("d"), field("e")]);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<polygon").count()), (5, 5));
        assert!(svg.contains("translate(0 150)") && svg.contains("&lt;c&gt;") && svg.contains("24 to 98 %"), "{svg}");
    }

    #[test]
    fn a_recipe_that_samples_nothing_has_an_empty_field() {
        let curve = Curve { name: "sft", mean: vec![(1, f64::NAN)], band: vec![(1, f64::NAN, f64::NAN)] };
        let svg = draw(&[Field { curve, result: "24 to 94 %".to_owned() }]);
        assert!(!svg.contains("NaN") && svg.contains("24 to 94 %"), "{svg}");
    }

    #[test]
    fn a_curve_ends_where_its_rate_says() {
        // At the last step, at the right edge; all of them, at the top.
        assert!(draw(&[field("a")]).contains("226.0,30.0\"/>"), "{}", draw(&[field("a")]));
    }
}
