//! Results as a table in Markdown, which a terminal shows as well.

use std::fmt::Write as _;

use super::{Row, rounded};

/// One table per scenario, in the order in which scenarios came.
pub(super) fn of(rows: &[Row]) -> String {
    let mut scenarios: Vec<&str> = Vec::new();
    for row in rows {
        if !scenarios.contains(&row.scenario) {
            scenarios.push(row.scenario);
        }
    }
    let mut text = String::new();
    for scenario in scenarios {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.scenario == scenario).collect();
        one(&mut text, scenario, &rows);
    }
    text
}

fn one(text: &mut String, scenario: &str, rows: &[&Row]) {
    let mut columns = vec!["target"];
    for row in rows {
        let names = row
            .parameters
            .iter()
            .map(|(name, _)| name)
            .chain(row.figures.iter().map(|(name, _)| name));
        for name in names {
            if !columns.contains(name) {
                columns.push(name);
            }
        }
    }
    let mut lines = vec![
        columns
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        lines.push(columns.iter().map(|column| cell(row, column)).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let _infallible = writeln!(text, "\n{scenario}\n");
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _infallible = write!(text, "| {cell:>width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _infallible = write!(text, "|-{}:", "-".repeat(*width));
            }
            text.push_str("|\n");
        }
    }
}

fn cell(row: &Row, column: &str) -> String {
    if column == "target" {
        return row.target.to_owned();
    }
    let parameter = row
        .parameters
        .iter()
        .find(|(name, _)| *name == column)
        .map(|(_, value)| value.to_string());
    parameter
        .or_else(|| row.get(column).map(|value| rounded(value).to_string()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_column_and_a_missing_one_is_blank() {
        let rows = [
            Row::new("dm", "a").with("pairs", 10).figure("x_per_s", 5.5),
            Row::new("dm", "b").with("pairs", 10),
        ];
        let text = of(&rows);
        assert!(text.contains("| target | pairs | x_per_s |"), "{text}");
        assert!(text.contains("|      a |    10 |     5.5 |"), "{text}");
        assert!(text.contains("|      b |    10 |         |"), "{text}");
    }
}
