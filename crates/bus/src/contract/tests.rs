//! The suite on every implementation, and what only a real server can do to its clients.

use hubbub_testkit::nats::{NatsCluster, NatsServer, Role};
use hubbub_testkit::{proxy::TcpProxy, wait};

use super::*;
use crate::memory::MemoryBus;
use crate::nats::{ConnectError, NatsBus, NatsOptions};

macro_rules! on_every_bus {
    ($($case:ident),* $(,)?) => {
        mod in_process {
            $(
                #[tokio::test]
                async fn $case() {
                    let bus = std::sync::Arc::new(super::MemoryBus::new());
                    super::super::$case(super::Pair { here: bus.clone(), there: bus }).await;
                }
            )*
        }

        mod over_nats {
            $(
                #[tokio::test]
                async fn $case() {
                    let Some(server) = super::NatsServer::start() else { return };
                    let pair = super::Pair {
                        here: super::node(&server.url(), "here").await,
                        there: super::node(&server.url(), "there").await,
                    };
                    super::super::$case(pair).await;
                }
            )*
        }

        /// One cluster for all cases. Both ends are at one server: two of them tell each other of a subscription a moment later.
        #[tokio::test]
        async fn every_case_holds_with_the_permissions_of_a_node() {
            let Some(cluster) = NatsCluster::start() else { return };
            let url = cluster.url_of(0, Role::Node);
            $(
                let pair = Pair {
                    here: node(&url, "here").await,
                    there: node(&url, "there").await,
                };
                super::$case(pair).await;
            )*
        }
    };
}

on_every_bus!(
    messages_of_one_publisher_on_one_subject_arrive_in_order,
    a_pattern_hears_its_kind_on_every_partition_and_nothing_else,
    every_listener_hears_a_message_its_sender_included,
    a_request_is_answered_and_carries_its_trace,
    a_message_carries_its_trace_or_none,
    a_request_without_listener_says_so_before_its_deadline,
    an_unanswered_request_times_out_and_its_late_answer_is_lost,
    a_full_queue_drops_and_counts,
    a_dropped_subscription_listens_no_more,
    the_largest_payload_arrives_and_a_larger_one_is_refused,
    a_flush_returns_when_everything_has_left,
);

async fn node(url: &str, name: &str) -> Arc<dyn Bus> {
    let bus = NatsBus::connect(NatsOptions::new(url, name)).await;
    let bus = bus.expect("the server runs");
    assert_eq!(*bus.status().borrow(), BusStatus::Up, "up when connected");
    Arc::new(bus)
}

async fn becomes(status: &mut tokio::sync::watch::Receiver<BusStatus>, wanted: BusStatus) {
    let changed = timeout(wait::DEADLINE, status.wait_for(|now| *now == wanted)).await;
    assert!(matches!(changed, Ok(Ok(_))), "waited for {wanted:?}");
}

#[tokio::test]
async fn a_node_goes_on_with_another_server_of_the_cluster() {
    let Some(mut cluster) = NatsCluster::start() else {
        return;
    };
    let bus = node(&cluster.url(Role::Node), "survivor").await;
    let mut heard = listen(&bus, SubjectPattern::AllEvents, 16).await;
    let mut status = bus.status();
    for n in 0..2 {
        cluster.server(n).kill();
    }
    // It may have been at the third one all the time.
    becomes(&mut status, BusStatus::Up).await;
    let told = timeout(wait::DEADLINE, async {
        loop {
            let sent = bus.publish(events(1), Bytes::from_static(b"still here"), None);
            if sent.await.is_ok() && timeout(wait::DEADLINE / 60, heard.next()).await.is_ok() {
                return;
            }
        }
    });
    told.await.expect("the third server carries on");
}

#[tokio::test]
async fn a_wrong_password_is_no_connection() {
    let Some(cluster) = NatsCluster::start() else {
        return;
    };
    let password = cluster.password(Role::Node);
    let url = cluster.url(Role::Node).replace(password, "wrong");
    let refused = NatsBus::connect(NatsOptions::new(url, "stranger")).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable(_))));
}

#[tokio::test]
async fn a_restarted_server_is_seen_as_down_and_up_and_subscriptions_live_again() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let bus = node(&server.url(), "survivor").await;
    let mut heard = listen(&bus, SubjectPattern::AllEvents, 16).await;
    let mut status = bus.status();
    publish(&bus, events(1), 1).await;
    assert_eq!(number(&next(&mut heard).await.payload), 1);

    server.kill();
    becomes(&mut status, BusStatus::Down).await;
    let lost = bus
        .publish(events(1), Bytes::from_static(b"lost"), None)
        .await;
    assert!(
        matches!(lost, Err(PublishError::Unavailable(_))),
        "{lost:?}"
    );
    let asked = bus
        .request(commands(), Bytes::from_static(b"?"), DEADLINE, None)
        .await;
    assert!(matches!(asked, Err(RequestError::NotSent(_))), "{asked:?}");
    assert!(bus.flush().await.is_err());

    server.restart();
    becomes(&mut status, BusStatus::Up).await;
    publish(&bus, events(1), 2).await;
    assert_eq!(
        number(&next(&mut heard).await.payload),
        2,
        "nothing that was refused arrives later"
    );
    let asked = bus
        .request(commands(), Bytes::from_static(b"?"), DEADLINE, None)
        .await;
    assert!(
        matches!(asked, Err(RequestError::NoResponder)),
        "answers arrive again: {asked:?}"
    );
}

#[tokio::test]
async fn a_bus_that_may_begin_without_server_comes_up_with_it() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let url = server.url();
    server.kill();
    let eager = NatsBus::connect(NatsOptions::new(&*url, "eager")).await;
    assert!(
        matches!(eager, Err(ConnectError::Unreachable(_))),
        "{eager:?}"
    );
    let patient = NatsBus::connect(NatsOptions {
        wait_for_server: true,
        ..NatsOptions::new(url, "patient")
    });
    let patient = patient.await.expect("begins without a server");
    let mut status = patient.status();
    assert_eq!(*status.borrow(), BusStatus::Down);
    server.restart();
    becomes(&mut status, BusStatus::Up).await;
    let bus: Arc<dyn Bus> = Arc::new(patient);
    let mut heard = listen(&bus, SubjectPattern::AllEvents, 16).await;
    publish(&bus, events(1), 1).await;
    assert_eq!(number(&next(&mut heard).await.payload), 1);
}

#[tokio::test]
async fn a_request_that_was_sent_is_open_when_the_line_is_cut() {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address()).await.expect("starts");
    let asker = node(&proxy.url_through(&server.url()), "asker").await;
    let answerer = node(&server.url(), "answerer").await;
    let mut questions = listen(&answerer, SubjectPattern::One(commands()), 16).await;
    let asking = asker.request(
        commands(),
        Bytes::from_static(b"?"),
        Duration::from_secs(2),
        None,
    );
    let cutting = async {
        let question = next(&mut questions).await;
        proxy.refuse_new();
        proxy.cut();
        question
    };
    let (answer, question) = tokio::join!(asking, cutting);
    assert_eq!(question.payload, "?", "it was handled");
    assert!(matches!(answer, Err(RequestError::TimedOut)), "{answer:?}");
}

/// A lost connection takes what was on its way with it: whoever asked learns at once that the outcome is open, not at the deadline.
#[tokio::test]
async fn a_request_does_not_outlive_the_connection_it_was_sent_over() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let asker = node(&server.url(), "asker").await;
    let answerer = node(&server.url(), "answerer").await;
    let mut questions = listen(&answerer, SubjectPattern::One(commands()), 16).await;
    let hours = Duration::from_hours(1);
    let asking = asker.request(commands(), Bytes::from_static(b"?"), hours, None);
    let losing = async {
        let question = next(&mut questions).await;
        server.kill();
        // Back before anybody looks: the loss counts, not that the line is down.
        server.restart();
        question
    };
    let both = async { tokio::join!(asking, losing) };
    let (answer, _question) = timeout(wait::DEADLINE, both).await.expect("ends early");
    assert!(matches!(answer, Err(RequestError::TimedOut)), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_seen_as_down_and_up_when_it_speaks_again() {
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let bus = node(&server.url(), "patient").await;
    let mut heard = listen(&bus, SubjectPattern::AllEvents, 16).await;
    let mut status = bus.status();
    server.suspend();
    becomes(&mut status, BusStatus::Down).await;
    server.resume();
    becomes(&mut status, BusStatus::Up).await;
    publish(&bus, events(1), 1).await;
    assert_eq!(number(&next(&mut heard).await.payload), 1);
}

async fn a_cut_direction_is_noticed(cut: impl FnOnce(&TcpProxy)) {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address()).await.expect("starts");
    let bus = node(&proxy.url_through(&server.url()), "half deaf").await;
    assert!(bus.silent_for() < DEADLINE);
    let mut status = bus.status();
    cut(&proxy);
    becomes(&mut status, BusStatus::Down).await;
    assert!(
        bus.silent_for() >= Duration::from_secs(2),
        "down for want of proof only"
    );
    proxy.resume();
    becomes(&mut status, BusStatus::Up).await;
    assert!(bus.silent_for() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_line_that_carries_nothing_out_is_noticed() {
    a_cut_direction_is_noticed(TcpProxy::hold_requests).await;
}

#[tokio::test]
async fn a_line_that_carries_nothing_in_is_noticed() {
    a_cut_direction_is_noticed(TcpProxy::hold_replies).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_a_mistake_in_the_settings() {
    let bus = NatsBus::connect(NatsOptions::new("nats://:not a url:", "n")).await;
    assert!(matches!(bus, Err(ConnectError::BadUrl(_))), "{bus:?}");
}

#[tokio::test]
async fn name_and_password_of_the_url_open_a_guarded_server() {
    let guard = "authorization { user: hub, password: \"p@ss\" }";
    let Some(server) = NatsServer::start_with(guard) else {
        return;
    };
    let stranger = NatsBus::connect(NatsOptions::new(server.url(), "stranger")).await;
    assert!(stranger.is_err(), "{stranger:?}");
    let url = format!("nats://hub:p%40ss@{}", server.address());
    let known = NatsBus::connect(NatsOptions::new(url, "one")).await;
    assert_eq!(*known.expect("connects").status().borrow(), BusStatus::Up);
    let options = NatsOptions {
        credentials: Some(("hub".to_owned(), "p@ss".to_owned())),
        ..NatsOptions::new(server.url(), "two")
    };
    let known = NatsBus::connect(options).await;
    assert_eq!(*known.expect("connects").status().borrow(), BusStatus::Up);
}
