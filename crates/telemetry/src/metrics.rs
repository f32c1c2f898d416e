//! Every metric, declared once with its unit (last in the name) and its help text, grouped by the room that moves it.
//!
//! Counting is one relaxed atomic addition, observing a histogram some tens of nanoseconds: fit for hot paths. A registry belongs to one
//! [`Metrics`], so two nodes in one process do not share numbers. A room that counts with its own atomics is copied in at scrape time with
//! [`raise_to`].
//!
//! Never: ids, names or subjects as labels.

use prometheus::{HistogramOpts, Opts, Registry, TextEncoder};

pub use prometheus::{Histogram, IntCounter, IntGauge};

/// Upper bounds in seconds for what a person waits for: 0.5 ms to 8 s, doubling. An append on loopback and a takeover both fall inside.
const LATENCY_BUCKETS_S: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];
/// Upper bounds for rows of a batch: one to the largest append (512), doubling.
const ROWS_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The text format has no room for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot declare the metrics")]
pub struct MetricsError(#[from] prometheus::Error);

macro_rules! kind {
    (counter) => {
        IntCounter
    };
    (gauge) => {
        IntGauge
    };
    (seconds) => {
        Histogram
    };
    (rows) => {
        Histogram
    };
}

macro_rules! groups {
    ($(
        $(#[$doc:meta])*
        $group:ident $field_of_group:ident {
            $($kind:ident $field:ident = $name:literal, $help:literal;)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $group {
                $(#[doc = $help] pub $field: kind!($kind),)*
            }
        )*

        /// All metrics of one node.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[$doc])* pub $field_of_group: $group,)*
        }

        impl Metrics {
            /// Declares everything, at zero. Fails only when two declarations clash, which a test rules out.
            pub fn new() -> Result<Self, MetricsError> {
                let registry = Registry::new();
                Ok(Self {
                    $($field_of_group: $group {
                        $($field: declare::$kind(&registry, $name, $help)?,)*
                    },)*
                    registry,
                })
            }
        }
    };
}

groups! {
    /// Sockets and requests of clients.
    Edge edge {
        gauge sockets = "hubbub_edge_sockets", "WebSockets open now";
        counter sockets_refused = "hubbub_edge_sockets_refused_total", "WebSockets refused at the door: budget, origin, draining";
        counter frames_received = "hubbub_edge_frames_received_total", "Frames received from clients";
        counter frames_refused = "hubbub_edge_frames_refused_total", "Frames answered with an error";
        counter frames_sent = "hubbub_edge_frames_sent_total", "Frames written to sockets";
        counter frames_dropped = "hubbub_edge_frames_dropped_total", "Event frames dropped because a socket's queue was full";
        counter resyncs = "hubbub_edge_resyncs_total", "Clients told to fetch what they missed";
        counter resets = "hubbub_edge_resets_total", "Clients told that lineage was lost";
        gauge queued_bytes = "hubbub_edge_queued_bytes", "Bytes waiting in the queues of sockets";
        gauge connections = "hubbub_edge_connections", "Connections open now, of all kinds";
        counter connections_refused = "hubbub_edge_connections_refused_total", "Connections answered 503 at once: no place or no descriptor left";
        gauge handshakes_waiting = "hubbub_edge_handshakes_waiting", "Sockets that wait to be let in";
        counter handshakes_refused = "hubbub_edge_handshakes_refused_total", "Sockets told to come back later because too many wait to be let in, or too long";
        counter handshakes_left = "hubbub_edge_handshakes_left_total", "Sockets that ended while they waited to be let in";
        gauge member_reads_waiting = "hubbub_edge_member_reads_waiting", "Rooms whose members, or summaries for new ones, wait to be read";
        counter stood_still = "hubbub_edge_stood_still_total", "Times this node sent its sockets away because it had stood still";
        gauge resumes_waiting = "hubbub_edge_resumes_waiting", "Sockets whose cursors wait to be looked at";
        counter resumes_without_query = "hubbub_edge_resumes_without_query_total", "Cursors found current by what this node tracks, without a question to a store";
        counter resumes_with_query = "hubbub_edge_resumes_with_query_total", "Cursors looked up in the stores";
        counter shed = "hubbub_edge_shed_total", "Typing, presence and receipts forgotten under load or for want of known members";
        counter busy = "hubbub_edge_busy_total", "Requests for history, members or search answered busy";
        gauge fanout_requests = "hubbub_edge_fanout_requests", "Requests of sockets that wait for the fan-out";
        gauge fanout_jobs = "hubbub_edge_fanout_jobs", "Reads that the fan-out waits for";
        gauge room_events_held = "hubbub_edge_room_events_held", "Events held while the members of their room are read";
        counter rooms_skipped = "hubbub_edge_rooms_skipped_total", "Rooms whose members were told to resync because too many events waited for the reading of members";
        gauge blind = "hubbub_edge_blind", "1 while this node hears nothing of the bus and reads heads from the log";
        counter blind_closes = "hubbub_edge_blind_closes_total", "Sockets sent to other nodes because this one is blind";
        counter contradicted = "hubbub_edge_contradicted_total", "Sockets told to resume because what came live did not go with what they were caught up to";
        seconds ack_seconds = "hubbub_edge_ack_seconds", "From a send frame to its ack";
        seconds http_seconds = "hubbub_edge_http_seconds", "From an HTTP request to its answer";
        counter http_errors = "hubbub_edge_http_errors_total", "HTTP answers with a status of 500 and above";
    }

    /// What an edge hears of the log.
    Feed feed {
        counter events = "hubbub_feed_events_total", "Events received in order";
        counter duplicates = "hubbub_feed_duplicates_total", "Events received again and dropped";
        counter gaps = "hubbub_feed_gaps_total", "Gaps seen in a partition's offsets";
        counter healed_gaps = "hubbub_feed_healed_gaps_total", "Gaps filled from a ring or the log";
        counter healed_last = "hubbub_feed_healed_last_total", "Lost last messages noticed by a head broadcast and fetched";
        counter healed_by_ring = "hubbub_feed_healed_by_ring_total", "Losses made good from an owner's ring";
        counter healed_by_log = "hubbub_feed_healed_by_log_total", "Losses made good from the log";
        counter lineage_losses = "hubbub_feed_lineage_losses_total", "Partitions found to have lost events that were delivered";
        gauge held_events = "hubbub_feed_held_events", "Events held back behind a gap";
        seconds delivery_seconds = "hubbub_feed_delivery_seconds", "From an event's time to its fan-out on this node";
    }

    /// Conversations in memory.
    Actors actors {
        counter commands = "hubbub_actors_commands_total", "Commands that reached a partition of this node";
        counter busy = "hubbub_actors_busy_total", "Commands refused for want of a permit";
        counter shed = "hubbub_actors_shed_total", "Commands refused because they would have waited in vain";
        counter expired = "hubbub_actors_expired_total", "Commands dropped before the append because of their deadline";
        gauge expected_wait_ms = "hubbub_actors_expected_wait_ms", "What a command would wait at the slowest lane, in milliseconds; 0 while none is overloaded";
        gauge under_way = "hubbub_actors_commands_under_way", "Commands under way";
        gauge residents = "hubbub_actors_conversations", "Conversations in memory";
        gauge resident_bytes = "hubbub_actors_conversation_bytes", "Bytes of conversations in memory, estimated";
        counter activations = "hubbub_actors_activations_total", "Conversations loaded from the log";
        counter passivations = "hubbub_actors_passivations_total", "Conversations that left memory to make room";
        counter snapshots = "hubbub_actors_snapshots_total", "Snapshots stored";
        counter panics = "hubbub_actors_panics_total", "Panics caught in a conversation";
        counter quarantines = "hubbub_actors_quarantines_total", "Conversations put into quarantine";
        counter unreadable = "hubbub_actors_unreadable_total", "Conversations found unreadable, and read-only for that";
        gauge out_of_service = "hubbub_actors_out_of_service", "Conversations in quarantine or read-only";
        gauge loading = "hubbub_actors_loading", "Conversations that are being loaded or wait for that";
        gauge saving = "hubbub_actors_snapshots_saving", "Snapshots that are being stored or wait for that";
        counter snapshots_skipped = "hubbub_actors_snapshots_skipped_total", "Snapshots not stored because too many were on their way";
        gauge marks_pending = "hubbub_actors_marks_pending", "Markers that wait to be written";
        gauge ring_bytes = "hubbub_actors_ring_bytes", "Bytes of events kept for edges that missed some";
        counter ring_hits = "hubbub_actors_ring_hits_total", "Ranges that an owner's ring could give";
        counter ring_misses = "hubbub_actors_ring_misses_total", "Ranges that an owner's ring no longer held";
        counter republished = "hubbub_actors_republished_total", "Events of a former owner told again after a takeover";
        counter takebacks = "hubbub_actors_takebacks_total", "Partitions whose speculative events were taken back";
        counter probes = "hubbub_actors_probes_total", "Command ids looked up in the log before an append";
        counter markers = "hubbub_actors_markers_total", "Markers stored";
    }

    /// The event log as this node writes it.
    Log log {
        counter appends = "hubbub_log_appends_total", "Append statements that ended, whatever way";
        counter rows = "hubbub_log_rows_total", "Events committed";
        rows batch_rows = "hubbub_log_batch_rows", "Rows of an append statement";
        seconds append_seconds = "hubbub_log_append_seconds", "Time of an append statement";
        counter conflicts = "hubbub_log_conflicts_total", "Append statements refused by a unique constraint";
        counter refusals = "hubbub_log_refusals_total", "Append statements refused by the store";
        counter fenced = "hubbub_log_fenced_total", "Partitions found fenced by a newer owner";
        counter unknown = "hubbub_log_unknown_total", "Append statements without a definite answer";
        gauge lane_rows = "hubbub_log_lane_rows", "Rows that wait for the write lanes";
        gauge lane_bytes = "hubbub_log_lane_bytes", "Bytes that wait for the write lanes";
        gauge fit = "hubbub_log_fit", "1 while the database keeps what it commits, as its settings and standbys say";
    }

    /// The bus as this node uses it.
    Bus bus {
        gauge up = "hubbub_bus_up", "1 when connected";
        counter publishes = "hubbub_bus_publishes_total", "Messages handed to the bus";
        counter publish_failures = "hubbub_bus_publish_failures_total", "Messages that the bus refused";
        counter dropped = "hubbub_bus_dropped_total", "Messages dropped because a subscription's queue was full";
        counter starved = "hubbub_bus_starved_total", "Messages dropped before they reached a subscription: this process had not run for long";
        gauge requests_waiting = "hubbub_bus_requests_waiting", "Requests to other nodes that wait for their answers";
        gauge publish_queue_bytes = "hubbub_bus_publish_queue_bytes", "Bytes that wait to be published";
    }

    /// Who owns what.
    Cluster cluster {
        gauge partitions_serving = "hubbub_cluster_partitions_serving", "Partitions served by this node";
        counter acquires = "hubbub_cluster_acquires_total", "Partitions acquired";
        counter takeovers = "hubbub_cluster_takeovers_total", "Partitions acquired from an owner that was lost";
        counter forwarded = "hubbub_cluster_forwarded_total", "Commands sent to another node";
        counter wrong_owner = "hubbub_cluster_wrong_owner_total", "Commands answered with another owner";
        counter unknown_outcomes = "hubbub_cluster_unknown_outcomes_total", "Commands answered with an unknown outcome";
        seconds heartbeat_seconds = "hubbub_cluster_heartbeat_seconds", "Time of a heartbeat in the database";
        gauge node_phase = "hubbub_cluster_node_phase", "What this node is: 0 starting, 1 joining, 2 active, 3 blind, 4 wedged, 5 draining, 6 stopped";
        counter handovers = "hubbub_cluster_handovers_total", "Partitions handed over in order";
        gauge routing = "hubbub_cluster_commands_routing", "Commands of this node's clients that wait for an owner's answer";
        counter routing_refused = "hubbub_cluster_routing_refused_total", "Commands refused because too many wait for an owner's answer";
        gauge remote_commands = "hubbub_cluster_remote_commands", "Commands of other nodes under way here";
        counter remote_refused = "hubbub_cluster_remote_refused_total", "Commands of other nodes refused because too many were under way";
    }

    /// Read models.
    Projections projections {
        counter events = "hubbub_projections_events_total", "Events projected";
        gauge lag_events = "hubbub_projections_lag_events", "Events between the checkpoint furthest behind and its head";
        seconds batch_seconds = "hubbub_projections_batch_seconds", "Time of a projection transaction";
        counter parked = "hubbub_projections_parked_total", "Conversations parked behind an event that cannot be projected";
        counter retries = "hubbub_projections_retries_total", "Batches that failed and were tried again";
        counter lost = "hubbub_projections_lost_total", "Batches that another projector had written already";
        gauge kept_events = "hubbub_projections_kept_events", "Unprojected events that queries keep in memory";
        gauge kept_bytes = "hubbub_projections_kept_bytes", "Bytes of the unprojected events that queries keep in memory, estimated";
        gauge readers_waiting = "hubbub_projections_readers_waiting", "Questions that wait for unprojected events which another one reads";
        counter unread_mismatch = "hubbub_unread_mismatch_total", "Unread counts that differed from a recount of the log";
    }

    /// Connections to PostgreSQL, by what they are for. Nothing moves in embedded mode.
    Pools pools {
        gauge control = "hubbub_pool_control_busy", "Connections of ownership in use";
        gauge owner = "hubbub_pool_owner_busy", "Connections of the owner's reads and snapshots in use";
        gauge edge = "hubbub_pool_edge_busy", "Connections of the edge's reads of the log in use";
        gauge tail = "hubbub_pool_tail_busy", "Connections of the projectors' reads of the log in use";
        gauge queries = "hubbub_pool_queries_busy", "Connections of history, members and inbox in use";
        gauge projectors = "hubbub_pool_projectors_busy", "Connections of the projectors' writes in use";
        gauge accounts = "hubbub_pool_accounts_busy", "Connections of accounts in use";
        gauge waiting = "hubbub_pool_waiting", "Reads of the log that wait for a connection";
        counter refused = "hubbub_pool_refused_total", "Reads of the log that waited in vain for a connection";
        counter closed = "hubbub_pool_closed_total", "Connections closed because their read failed or was given up";
    }

    /// The process as a whole.
    Process process {
        gauge resident_bytes = "hubbub_process_resident_bytes", "Memory of the process";
        gauge connections_max = "hubbub_process_connections_max", "Open connections of clients at most";
        gauge fault_points = "hubbub_process_fault_points", "1 when this build has fault points and must not serve people";
    }

    /// Identity.
    Accounts accounts {
        counter logins = "hubbub_accounts_logins_total", "Sessions made by a password";
        counter logins_refused = "hubbub_accounts_logins_refused_total", "Wrong passwords and unknown users";
        gauge hashing = "hubbub_accounts_hashing", "Passwords that are hashed or wait for it";
        counter logins_later = "hubbub_accounts_logins_later_total", "Logins put off: budget spent or hashing fully used";
    }
}

impl Metrics {
    /// Everything in the text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// Raises `counter` to a total that is counted elsewhere; never lowers it.
pub fn raise_to(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

mod declare {
    use super::{
        Histogram, HistogramOpts, IntCounter, IntGauge, LATENCY_BUCKETS_S, Opts, ROWS_BUCKETS,
        Registry,
    };

    type Declared<T> = Result<T, prometheus::Error>;

    pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Declared<IntCounter> {
        let counter = IntCounter::with_opts(Opts::new(name, help))?;
        registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Declared<IntGauge> {
        let gauge = IntGauge::with_opts(Opts::new(name, help))?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    pub(super) fn seconds(registry: &Registry, name: &str, help: &str) -> Declared<Histogram> {
        histogram(registry, name, help, &LATENCY_BUCKETS_S)
    }

    pub(super) fn rows(registry: &Registry, name: &str, help: &str) -> Declared<Histogram> {
        histogram(registry, name, help, &ROWS_BUCKETS)
    }

    fn histogram(
        registry: &Registry,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Declared<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = Histogram::with_opts(options)?;
        registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text_with_its_help() {
        let metrics = Metrics::new().expect("no two declarations clash");
        metrics.edge.sockets.set(3);
        metrics.log.append_seconds.observe(0.003);
        raise_to(&metrics.log.fenced, 7);
        raise_to(&metrics.log.fenced, 5);
        let text = metrics.render().expect("renders");
        for line in [
            "# HELP hubbub_edge_sockets WebSockets open now",
            "# TYPE hubbub_edge_sockets gauge",
            "hubbub_edge_sockets 3",
            "hubbub_log_append_seconds_bucket{le=\"0.002\"} 0",
            "hubbub_log_append_seconds_bucket{le=\"0.004\"} 1",
            "hubbub_log_fenced_total 7",
            "hubbub_unread_mismatch_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn two_nodes_in_one_process_count_for_themselves() {
        let one = Metrics::new().expect("declares");
        let other = Metrics::new().expect("declares");
        one.bus.publishes.inc();
        assert_eq!((one.bus.publishes.get(), other.bus.publishes.get()), (1, 0));
    }

    #[test]
    fn a_counter_ends_in_total_and_a_time_in_seconds() {
        let metrics = Metrics::new().expect("declares");
        for family in metrics.registry.gather() {
            let name = family.name();
            assert!(name.starts_with("hubbub_"), "{name}");
            let counts = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(counts, name.ends_with("_total"), "{name}");
        }
    }
}
