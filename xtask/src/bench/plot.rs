//! Bar charts, drawn by plotters as SVG.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::common::Result;

/// A bar chart.
#[derive(Debug, PartialEq)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) name: String,
    /// `None` draws no bar; the figure contains the reason.
    pub(super) value: Option<f64>,
    /// The formatted value.
    pub(super) figure: String,
    /// Set for this pool, which has its own color.
    pub(super) ours: bool,
}

const WIDTH: i32 = 640;
/// The left end of the bars.
const LEFT: i32 = 210;
/// The right end of the longest bar. Leaves room for its figure.
const RIGHT: i32 = 550;
const LINE: i32 = 22;
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb5);
const OTHERS: RGBColor = RGBColor(0xb8, 0xc2, 0xcc);
const AXIS: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

impl Plot {
    /// Draws all bars on one logarithmic scale, with a line at each power of ten.
    pub(super) fn svg(&self) -> Result<String> {
        let values = || self.bars.iter().filter_map(|bar| bar.value).filter(|value| *value > 0.0);
        // Some space below the smallest value, whose bar would have no length otherwise.
        let first = values().fold(f64::MAX, f64::min).log10() - 0.3;
        let last = values().fold(f64::MIN_POSITIVE, f64::max).log10();
        let end_of = |log: f64| {
            LEFT + (f64::from(RIGHT - LEFT) * (log - first) / (last - first)).round() as i32
        };
        let height = LINE * self.bars.len() as i32 + LINE / 2;
        let mut text = String::new();
        {
            let size = (WIDTH as u32, height as u32);
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            for power in first.ceil() as i32..=last.floor() as i32 {
                let at = end_of(power.into());
                area.draw(&PathElement::new([(at, 0), (at, height)], AXIS))?;
            }
            // 16 for plotters, which renders as 13 pixels.
            let style = TextStyle::from(("sans-serif", 16));
            for (at, bar) in (0..).zip(&self.bars) {
                let middle = LINE * at + LINE * 3 / 4;
                let end = bar.value.filter(|it| *it > 0.0).map_or(LEFT, |it| end_of(it.log10()));
                let color = if bar.ours { OURS } else { OTHERS };
                let corners = [(LEFT, middle - 7), (end, middle + 7)];
                area.draw(&Rectangle::new(corners, color.filled()))?;
                let name = style.pos(Pos::new(HPos::Right, VPos::Center));
                area.draw(&Text::new(bar.name.as_str(), (LEFT - 8, middle), name))?;
                let figure = style.pos(Pos::new(HPos::Left, VPos::Center));
                area.draw(&Text::new(bar.figure.as_str(), (end + 6, middle), figure))?;
            }
            area.present()?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_figure_has_no_bar_but_a_word() {
        let bar = |name: &str, value, figure: &str| Bar {
            name: name.to_owned(),
            value,
            figure: figure.to_owned(),
            ours: name == "connpool",
        };
        let plot = Plot {
            title: "sequential".to_owned(),
            bars: vec![
                bar("connpool", Some(50.0), "50 ns"),
                bar("bb8", Some(100.0), "100 ns"),
                bar("qp", None, "hangs"),
            ],
        };
        let svg = plot.svg().expect("drawing");
        for wanted in ["width=\"340\"", "width=\"170\"", "width=\"0\"", "hangs"] {
            assert!(svg.contains(wanted), "{wanted} in {svg}");
        }
    }
}
