//! Log lines: the library's own formats, plus the trace id.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::propagate::current_trace_id;

/// Which of the library's formats a line has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    Human,
    Json,
}

/// Writes a line and puts the trace id of the current span in it: as the first field in JSON, at the end for eyes.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    human: Format<Full>,
    json: Format<Json>,
}

impl Lines {
    pub(super) fn new(style: Style, colours: bool) -> Self {
        let format = Format::default().with_ansi(colours);
        Self {
            style,
            human: format.clone(),
            json: format.json().flatten_event(true).with_span_list(false),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace_id) = current_trace_id() else {
            return match self.style {
                Style::Human => self.human.format_event(context, writer, event),
                Style::Json => self.json.format_event(context, writer, event),
            };
        };
        let mut line = String::new();
        match self.style {
            Style::Human => {
                self.human
                    .format_event(context, Writer::new(&mut line), event)?;
                writeln!(
                    writer,
                    "{} trace_id={trace_id}",
                    line.trim_end_matches('\n')
                )
            }
            Style::Json => {
                self.json
                    .format_event(context, Writer::new(&mut line), event)?;
                let rest = line.strip_prefix('{').unwrap_or(&line);
                write!(writer, "{{\"trace_id\":\"{trace_id}\",{rest}")
            }
        }
    }
}
