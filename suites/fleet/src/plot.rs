//! Plots of the attempts in each second, a panel for each scenario, as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::prelude::*;

use crate::backend::Overflow;
use crate::scenario::Run;

const SIZE: (u32, u32) = (960, 1_080);
const PANELS: (usize, usize) = (3, 2);

/// The range of the vertical axis, for 1,000 pools. A second with fewer attempts is drawn at its lower end.
const RATES: Range<f64> = 100.0..30_000.0;

const COLORS: [RGBColor; 2] = [RGBColor(0xb5, 0x3a, 0x1f), RGBColor(0x1f, 0x6f, 0xb5)];
const ACCEPTS: RGBColor = RGBColor(0x55, 0x55, 0x55);
const GRID: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);

/// Draws the runs. Those of the same scenario share a panel.
///
/// # Errors
///
/// Returns the errors of the plotting library.
pub fn svg(runs: &[Run]) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let panels = area.split_evenly(PANELS);
        let of_scenarios = runs.chunk_by(|one, next| one.scenario == next.scenario);
        for (panel, runs) in panels.iter().zip(of_scenarios) {
            draw_panel(panel, runs)?;
        }
        area.present()?;
    }
    Ok(text)
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    runs: &[Run],
) -> Result<(), Box<dyn Error>> {
    let Some(first) = runs.first() else { return Ok(()) };
    let last_of = |run: &Run| run.counts.seconds.keys().next_back().copied().unwrap_or(0);
    let end = runs.iter().map(last_of).max().unwrap_or(0) as f64 + 1.0;
    let scale = first.fleet.pools as f64 / 1_000.0;
    let rates = RATES.start * scale..RATES.end * scale;
    let mut chart = ChartBuilder::on(panel)
        .caption(first.scenario.to_string(), ("sans-serif", 20))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..end, rates.clone().log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .x_desc("seconds since the event")
        .y_desc("attempts a second")
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 15))
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .draw()?;
    let accepts = first.fleet.accepts() as f64;
    chart
        .draw_series([PathElement::new([(0.0, accepts), (end, accepts)], ACCEPTS)])?
        .label("accepted by the backend")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], ACCEPTS));
    for (run, color) in runs.iter().zip(COLORS) {
        let label = match run.overflow {
            Overflow::Refuse => "backlog full: refused",
            Overflow::Wait => "backlog full: waits",
        };
        let steps = (0..=last_of(run)).flat_map(|second| {
            let attempts = run.counts.seconds.get(&second).map_or(0, |it| it.attempts) as f64;
            let rate = attempts.max(rates.start);
            [(second as f64, rate), (second as f64 + 1.0, rate)]
        });
        chart
            .draw_series([PathElement::new(steps.collect::<Vec<_>>(), color.stroke_width(2))])?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}
