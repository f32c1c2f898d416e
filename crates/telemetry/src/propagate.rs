//! Trace context as it travels: W3C `traceparent` as text, taken from and given to spans.
//!
//! Spans have ids as soon as [`init`](crate::init::init) has run, whether or not anything is exported; without it there is no context and
//! everything here does nothing.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A W3C `traceparent` value, checked for form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceContext(String);

impl TraceContext {
    /// `None` unless `text` has the form `00-<32 hex>-<16 hex>-<2 hex>` with non-zero ids (W3C Trace Context §3.2).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let sound = parts.next().is_none()
            && version == "00"
            && hex(trace, 32)
            && hex(span, 16)
            && hex(flags, 2)
            && !zero(trace)
            && !zero(span);
        sound.then(|| Self(text.to_owned()))
    }

    /// The context of the span that this thread is in; `None` outside of every span.
    pub fn current() -> Option<Self> {
        Self::from_otel(opentelemetry::Context::current().span().span_context())
    }

    /// The context of `span`, which starts it: its parent can no longer be set. `None` for a span that is filtered out.
    pub fn of(span: &Span) -> Option<Self> {
        Self::from_otel(span.context().span().span_context())
    }

    /// Makes `span` a child of this context, which may come from another process. Has to be called before the span is entered; a span that
    /// is filtered out or already started keeps its parent.
    pub fn adopt(&self, span: &Span) {
        let parent = opentelemetry::Context::new().with_remote_span_context(self.to_otel());
        if let Err(error) = span.set_parent(parent) {
            tracing::trace!(%error, "a span keeps its own parent");
        }
    }

    /// Makes `span` point to this context without becoming its child: for a span that serves many.
    pub fn link_to(&self, span: &Span) {
        span.add_link(self.to_otel());
    }

    /// The header value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 hex digits of the trace id.
    pub fn trace_id(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }

    fn from_otel(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| {
            Self(format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags().to_u8()
            ))
        })
    }

    fn to_otel(&self) -> SpanContext {
        let mut parts = self.0.split('-').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        let trace = TraceId::from_hex(part()).unwrap_or(TraceId::INVALID);
        let span = SpanId::from_hex(part()).unwrap_or(SpanId::INVALID);
        let flags = u8::from_str_radix(part(), 16).unwrap_or_default();
        SpanContext::new(
            trace,
            span,
            TraceFlags::new(flags),
            true,
            TraceState::default(),
        )
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The trace id of the span that this thread is in, as 32 hex digits: what an error answer carries as its request id.
pub fn current_trace_id() -> Option<String> {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let trace_id = span.span_context().trace_id();
    (trace_id != TraceId::INVALID).then(|| trace_id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::test_subscriber;

    const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_the_form_of_the_standard_is_a_context() {
        assert_eq!(
            TraceContext::parse(REMOTE).map(|context| context.to_string()),
            Some(REMOTE.to_owned())
        );
        for text in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_span_continues_the_trace_of_another_process() {
        let (dispatch, _output, _guard) = test_subscriber();
        tracing::dispatcher::with_default(&dispatch, || {
            let remote = TraceContext::parse(REMOTE).expect("is well-formed");
            let span = tracing::info_span!("child");
            remote.adopt(&span);
            let own = TraceContext::of(&span).expect("the span has ids");
            assert_eq!(own.trace_id(), remote.trace_id());
            assert_ne!(own, remote, "with a span id of its own");
            span.in_scope(|| {
                assert_eq!(TraceContext::current(), Some(own));
                assert_eq!(current_trace_id().as_deref(), Some(remote.trace_id()));
            });
        });
    }

    #[test]
    fn spans_have_ids_without_any_exporter_and_share_them_with_their_children() {
        let (dispatch, _output, _guard) = test_subscriber();
        tracing::dispatcher::with_default(&dispatch, || {
            assert_eq!(TraceContext::current(), None);
            assert_eq!(current_trace_id(), None);
            let outer = tracing::info_span!("outer").entered();
            let id = current_trace_id().expect("inside a span");
            let inner = tracing::info_span!("inner").entered();
            assert_eq!(current_trace_id().as_ref(), Some(&id));
            drop(inner);
            drop(outer);
            let _other = tracing::info_span!("other").entered();
            assert_ne!(current_trace_id(), Some(id), "another trace, another id");
        });
    }

    #[test]
    fn a_span_that_has_begun_keeps_its_parent() {
        let (dispatch, _output, _guard) = test_subscriber();
        tracing::dispatcher::with_default(&dispatch, || {
            let span = tracing::info_span!("begun");
            let before = TraceContext::of(&span);
            TraceContext::parse(REMOTE)
                .expect("is well-formed")
                .adopt(&span);
            assert_eq!(TraceContext::of(&span), before);
        });
    }
}
