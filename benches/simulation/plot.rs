//! Draws how counts grow with the number of nodes, as an SVG: both axes logarithmic, the laws as lines, what was measured
//! as points. Never in here: what the laws are.

use std::fmt::Write;

use super::simulation::measured::{LAWS, Measured};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 300.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// The counts between which everything lies, as powers of ten.
const POWERS: std::ops::RangeInclusive<i32> = 0..=6;
/// Colours that differ in lightness too, one a law.
const COLOURS: [&str; LAWS.len()] =
    ["#1b4f9c", "#d1495b", "#2e8b57", "#8a5a00", "#7b3fa0", "#008a9e", "#555555"];

struct Axes {
    fewest: f64,
    most: f64,
}

impl Axes {
    fn x(&self, nodes: f64) -> f64 {
        let share = (nodes / self.fewest).log10() / (self.most / self.fewest).log10();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, count: f64) -> f64 {
        let powers = f64::from(POWERS.end() - POWERS.start());
        let share = (count.max(1.0).log10() - f64::from(*POWERS.start())) / powers;
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The drawing of clusters of several sizes, smallest first.
pub fn drawing(measured: &[Measured]) -> String {
    let sizes = || measured.iter().map(|cluster| cluster.nodes as f64);
    let (fewest, most) = (sizes().fold(f64::MAX, f64::min), sizes().fold(f64::MIN, f64::max));
    let axes = Axes { fewest, most };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>What grows with the number of nodes</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        (LEFT, 24.0),
        "start",
        "#222222",
        "Counts by number of nodes: lines are laws, points were measured",
    );
    grid(&mut svg, &axes, measured);
    for (number, (law, colour)) in LAWS.iter().zip(COLOURS).enumerate() {
        let at = |nodes: f64| format!("{:.1},{:.1}", axes.x(nodes), axes.y((law.law)(nodes)));
        let steps = (0..=40).map(|step| fewest * (most / fewest).powf(f64::from(step) / 40.0));
        let line: Vec<String> = steps.map(at).collect();
        let points = line.join(" ");
        line_of(&mut svg, &points, colour);
        for cluster in measured {
            let (x, y) = (axes.x(cluster.nodes as f64), axes.y((law.seen)(cluster)));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
        }
        let y = TOP + 20.0 + 40.0 * number as f64;
        let x = WIDTH - RIGHT + 24.0;
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{}\" r=\"4\" fill=\"{colour}\"/>", y - 4.0);
        text(&mut svg, (x + 10.0, y), "start", colour, law.what);
        text(&mut svg, (x + 10.0, y + 15.0), "start", "#555555", law.says);
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, axes: &Axes, measured: &[Measured]) {
    for power in POWERS {
        let (y, count) = (axes.y(10_f64.powi(power)), 10_f64.powi(power));
        line_of(svg, &format!("{LEFT},{y:.1} {},{y:.1}", WIDTH - RIGHT), "#dddddd");
        text(svg, (LEFT - 8.0, y + 4.0), "end", "#222222", &format!("{count}"));
    }
    for cluster in measured {
        let x = axes.x(cluster.nodes as f64);
        line_of(svg, &format!("{x:.1},{TOP} {x:.1},{}", HEIGHT - BOTTOM), "#dddddd");
        text(svg, (x, HEIGHT - BOTTOM + 18.0), "middle", "#222222", &cluster.nodes.to_string());
    }
    text(svg, (LEFT, HEIGHT - 12.0), "start", "#222222", "nodes");
}

fn line_of(svg: &mut String, points: &str, colour: &str) {
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, said: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{said}</text>"
    );
}
