//! The router and the answering side over the in-memory bus.

use super::*;

struct Net {
    bus: Arc<MemoryBus>,
    view: Arc<OwnersView>,
    tasks: TaskTracker,
}

impl Net {
    fn new() -> Self {
        Self {
            bus: Arc::new(MemoryBus::new()),
            view: Arc::new(OwnersView::new(PARTITIONS)),
            tasks: TaskTracker::new(),
        }
    }

    async fn node(&self, me: u128, host: &Arc<Host>) -> Router {
        let (bus, local): (Arc<dyn Bus>, Arc<dyn LocalConversations>) =
            (self.bus.clone(), host.clone());
        let server = CommandServer {
            me: incarnation(me),
            bus: bus.clone(),
            local: local.clone(),
            lease: held(),
            view: Arc::new(OwnersView::new(PARTITIONS)),
            metrics: None,
        };
        serve_commands(server, &self.tasks, CancellationToken::new())
            .await
            .unwrap();
        Router::new(incarnation(me), Arc::clone(&self.view), local, bus, held())
    }
}

#[tokio::test]
async fn a_command_goes_to_the_owner_on_another_node() {
    let net = Net::new();
    let here = Host::answering([OwnerReply::Unknown]);
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let router = net.node(1, &here).await;
    net.node(2, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let stored = router
        .submit(command(), false, DEADLINE, None)
        .await
        .unwrap();
    assert_eq!(stored, accepted(How::Stored));
    assert!(here.seen.lock().is_empty());
    let seen = there.seen.lock().clone();
    assert_eq!(
        (seen[0].partition, seen[0].epoch, seen[0].retry),
        (partition(), Epoch::new(3), false)
    );
}

#[tokio::test]
async fn a_wrong_owner_with_a_hint_leads_to_the_right_one() {
    let net = Net::new();
    let hint = Some((incarnation(2), Epoch::new(4)));
    let here = Host::answering([OwnerReply::WrongOwner { hint }]);
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let router = net.node(1, &here).await;
    net.node(2, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    assert!(
        router
            .submit(command(), false, DEADLINE, None)
            .await
            .is_ok()
    );
    assert_eq!(net.view.owner(partition()), hint);
}

#[tokio::test]
async fn an_open_attempt_is_repeated_as_a_repetition_until_it_is_definite() {
    let net = Net::new();
    let host = Host::answering([
        OwnerReply::Unknown,
        OwnerReply::Accepted(accepted(How::Duplicate)),
    ]);
    let router = net.node(1, &host).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    assert_eq!(
        router
            .submit(command(), false, DEADLINE, None)
            .await
            .unwrap()
            .how,
        How::Duplicate
    );
    let retries: Vec<bool> = host
        .seen
        .lock()
        .iter()
        .map(|request| request.retry)
        .collect();
    assert_eq!(retries, [false, true]);
}

#[tokio::test]
async fn an_attempt_that_stays_open_is_unknown_never_failed() {
    let net = Net::new();
    let host = Host::answering([
        OwnerReply::Unknown,
        OwnerReply::Busy { retry_after_ms: 1 },
        OwnerReply::StorageFull,
        OwnerReply::Unavailable { retry_after_ms: 1 },
    ]);
    let router = net.node(1, &host).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    assert_eq!(
        router.submit(command(), false, SHORT, None).await,
        Err(SubmitError::UnknownOutcome)
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_command_asks_a_busy_or_full_owner_no_more_often_than_it_is_told() {
    for refused in [
        OwnerReply::Busy {
            retry_after_ms: 1_000,
        },
        OwnerReply::StorageFull,
    ] {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Unknown, refused.clone()]);
        let router = net.node(1, &host).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        let begun = tokio::time::Instant::now();
        let answer = router
            .submit(command(), false, Duration::from_secs(4), None)
            .await;
        assert_eq!(answer, Err(SubmitError::UnknownOutcome));
        let attempts = host.seen.lock().len();
        assert!((2..=5).contains(&attempts), "{refused:?}: {attempts}");
        // Waiting longer than there is time helps nobody.
        assert!(begun.elapsed() < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn without_an_owner_the_answer_is_unavailable_as_nothing_was_handed_over() {
    let net = Net::new();
    let host = Host::answering([OwnerReply::Unknown]);
    let router = net.node(1, &host).await;
    let refused = router.submit(command(), false, SHORT, None).await;
    assert!(
        matches!(refused, Err(SubmitError::Unavailable { .. })),
        "{refused:?}"
    );
    // An owner that nobody reaches is as good as none.
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(77)));
    let refused = router.submit(command(), false, SHORT, None).await;
    assert!(
        matches!(refused, Err(SubmitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(net.view.owner(partition()), None);
    assert!(host.seen.lock().is_empty());
}

#[tokio::test]
async fn a_waiting_command_finds_the_owner_that_appears() {
    let net = Net::new();
    let host = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let router = net.node(1, &host).await;
    let view = Arc::clone(&net.view);
    let (stored, ()) = tokio::join!(
        router.submit(command(), false, DEADLINE, None),
        async move {
            tokio::task::yield_now().await;
            view.learn(partition(), Epoch::new(9), Some(incarnation(1)));
        }
    );
    assert!(stored.is_ok());
}

#[tokio::test]
async fn without_a_fresh_lease_nobody_here_is_asked() {
    let net = Net::new();
    let host = Host::answering([OwnerReply::Rejected(Rejection::NotFound)]);
    let (bus, local): (Arc<dyn Bus>, Arc<dyn LocalConversations>) = (net.bus.clone(), host.clone());
    let stale = Arc::<Lease>::default();
    let server = CommandServer {
        me: incarnation(1),
        bus: bus.clone(),
        local: local.clone(),
        lease: Arc::clone(&stale),
        view: Arc::clone(&net.view),
        metrics: None,
    };
    serve_commands(server, &net.tasks, CancellationToken::new())
        .await
        .unwrap();
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    let here = Router::new(incarnation(1), Arc::clone(&net.view), local, bus, stale);
    // Over the bus as well: the other node's own lease says nothing about this one's.
    let elsewhere = net.node(2, &Host::answering([OwnerReply::Unknown])).await;
    for router in [here, elsewhere] {
        let refused = router.submit(command(), false, SHORT, None).await;
        assert!(
            matches!(refused, Err(SubmitError::Unavailable { .. })),
            "a definite answer from old state: {refused:?}"
        );
    }
    assert!(host.seen.lock().is_empty());
}

/// A node on a line of its own, with a view and a lease that the test holds.
fn apart(net: &Net, me: u128, host: &Arc<Host>) -> (Router, MemoryBus, Arc<Lease>) {
    let line = net.bus.another_line();
    let (bus, local): (Arc<dyn Bus>, Arc<dyn LocalConversations>) =
        (Arc::new(line.clone()), host.clone());
    let lease = held();
    let view = Arc::clone(&net.view);
    let router = Router::new(incarnation(me), view, local, bus, Arc::clone(&lease));
    (router, line, lease)
}

fn is_unavailable(answer: &Result<Accepted, SubmitError>) -> bool {
    matches!(answer, Err(SubmitError::Unavailable { retry_after_ms }) if *retry_after_ms > 0)
}

#[tokio::test(start_paused = true)]
async fn without_the_bus_a_foreign_conversation_is_unavailable_at_once_and_an_own_one_is_served() {
    let net = Net::new();
    let host = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let (router, line, _lease) = apart(&net, 1, &host);
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    line.set_status(hubbub_bus::BusStatus::Down);
    // A blink of the line is waited for.
    let begun = tokio::time::Instant::now();
    let answer = router.submit(command(), false, DEADLINE, None).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert!(begun.elapsed() <= Duration::from_millis(1_100));
    let begun = tokio::time::Instant::now();
    let answer = router.submit(command(), false, DEADLINE, None).await;
    assert!(
        is_unavailable(&answer),
        "nothing was handed over: {answer:?}"
    );
    assert_eq!(begun.elapsed(), Duration::ZERO);
    net.view
        .learn(partition(), Epoch::new(4), Some(incarnation(1)));
    let answer = router.submit(command(), false, DEADLINE, None).await;
    assert_eq!(answer, Ok(accepted(How::Stored)));
}

#[tokio::test(start_paused = true)]
async fn a_blink_of_the_bus_is_waited_for() {
    let net = Net::new();
    let (router, line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    net.node(2, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    line.set_status(hubbub_bus::BusStatus::Down);
    let (answer, ()) = tokio::join!(router.submit(command(), false, DEADLINE, None), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        line.set_status(hubbub_bus::BusStatus::Up);
    });
    assert_eq!(answer, Ok(accepted(How::Stored)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_the_database_answers_unavailable_at_once() {
    let net = Net::new();
    let not_here = OwnerReply::WrongOwner { hint: None };
    let host = Host::answering([not_here]);
    let (router, _line, lease) = apart(&net, 1, &host);
    lease.doubt();
    let begun = tokio::time::Instant::now();
    // Nobody is known; the own host does not serve it any more; the own lease is over.
    let nobody = router.submit(command(), false, DEADLINE, None).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    let dropped = router.submit(command(), false, DEADLINE, None).await;
    assert!(is_unavailable(&nobody) && is_unavailable(&dropped));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    tokio::time::sleep(hubbub_event_log::port::LEASE).await;
    let begun = tokio::time::Instant::now();
    net.view
        .learn(partition(), Epoch::new(4), Some(incarnation(1)));
    assert!(is_unavailable(
        &router.submit(command(), false, DEADLINE, None).await
    ));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_command_follows_a_new_owner_while_the_old_one_is_silent() {
    let net = Net::new();
    let (router, _line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    // Listens and never answers, like a process that was stopped.
    let silent = SubjectPattern::One(Subject::Command(incarnation(2)));
    let _silent = net.bus.subscribe(silent, 16).await.unwrap();
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    net.node(3, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let begun = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(
        router.submit(command(), false, Duration::from_secs(4), None),
        async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            net.view
                .learn(partition(), Epoch::new(4), Some(incarnation(3)));
        }
    );
    assert_eq!(answer, Ok(accepted(How::Stored)));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let asked = there.seen.lock()[0].clone();
    assert!(asked.retry, "the silent one may have stored it");
    assert!(asked.remaining_ms <= 3_000, "an owner has three seconds");
}

/// What was on its way over a lost line is lost, and its id makes the repetition safe: it is asked again when the line is back, not when
/// the attempt's three seconds are over.
#[tokio::test(start_paused = true)]
async fn a_command_on_its_way_over_a_line_that_breaks_is_asked_again_once_it_is_back() {
    let net = Net::new();
    let (router, line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Already))]);
    net.node(2, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    // The first one is lost on the way.
    let mut fates = [Fault::Lose].into_iter();
    net.bus.inject(move |subject| match subject {
        Subject::Command(_) => fates.next().unwrap_or(Fault::None),
        _ => Fault::None,
    });
    let begun = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(router.submit(command(), false, DEADLINE, None), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        line.set_status(hubbub_bus::BusStatus::Down);
        tokio::time::sleep(Duration::from_millis(100)).await;
        line.set_status(hubbub_bus::BusStatus::Up);
    });
    assert_eq!(answer, Ok(accepted(How::Already)));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(there.seen.lock()[0].retry, "the first one may have arrived");
}

/// The owner's line is lost while it works: its answer waits for the line instead of being lost with it.
#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_line_of_the_owner_to_come_back() {
    let net = Net::new();
    let (router, _line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let owners_line = net.bus.another_line();
    let server = CommandServer {
        me: incarnation(2),
        bus: Arc::new(owners_line.clone()),
        local: there.clone(),
        lease: held(),
        view: Arc::new(OwnersView::new(PARTITIONS)),
        metrics: None,
    };
    serve_commands(server, &net.tasks, CancellationToken::new())
        .await
        .unwrap();
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let begun = tokio::time::Instant::now();
    // The request is in the owner's queue when the line goes, and is answered while it is away.
    let (answer, ()) = tokio::join!(router.submit(command(), false, DEADLINE, None), async {
        owners_line.set_status(hubbub_bus::BusStatus::Down);
        tokio::time::sleep(Duration::from_millis(100)).await;
        owners_line.set_status(hubbub_bus::BusStatus::Up);
    });
    assert_eq!(answer, Ok(accepted(How::Stored)));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(there.seen.lock().len(), 1, "nobody had to ask again");
}

/// While the line stays away nobody can say what became of it.
#[tokio::test(start_paused = true)]
async fn a_command_on_its_way_over_a_line_that_stays_away_is_unknown_never_failed() {
    let net = Net::new();
    let (router, line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let silent = SubjectPattern::One(Subject::Command(incarnation(2)));
    let _silent = net.bus.subscribe(silent, 16).await.unwrap();
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let (answer, ()) = tokio::join!(
        router.submit(command(), false, Duration::from_secs(4), None),
        async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            line.set_status(hubbub_bus::BusStatus::Down);
        }
    );
    assert_eq!(answer, Err(SubmitError::UnknownOutcome));
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_makes_the_outcome_unknown() {
    let net = Net::new();
    let (router, _line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let silent = SubjectPattern::One(Subject::Command(incarnation(2)));
    let _silent = net.bus.subscribe(silent, 16).await.unwrap();
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let answer = router
        .submit(command(), false, Duration::from_secs(4), None)
        .await;
    assert_eq!(answer, Err(SubmitError::UnknownOutcome));
}

#[tokio::test]
async fn whoever_is_not_the_owner_says_who_is() {
    let net = Net::new();
    let (asker, _line, _lease) = apart(&net, 1, &Host::answering([OwnerReply::Unknown]));
    let former = Host::answering([OwnerReply::WrongOwner { hint: None }]);
    let informed = Arc::new(OwnersView::new(PARTITIONS));
    informed.learn(partition(), Epoch::new(5), Some(incarnation(3)));
    let server = CommandServer {
        me: incarnation(2),
        bus: net.bus.clone(),
        local: former.clone(),
        lease: held(),
        view: informed,
        metrics: None,
    };
    serve_commands(server, &net.tasks, CancellationToken::new())
        .await
        .unwrap();
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    net.node(3, &there).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let answer = asker.submit(command(), false, DEADLINE, None).await;
    assert_eq!(answer, Ok(accepted(How::Stored)));
    assert_eq!(
        net.view.owner(partition()),
        Some((incarnation(3), Epoch::new(5)))
    );
}

#[tokio::test]
async fn a_rejection_is_definite_at_once() {
    let net = Net::new();
    let host = Host::answering([OwnerReply::Rejected(Rejection::NotFound)]);
    let router = net.node(1, &host).await;
    net.view
        .learn(partition(), Epoch::new(3), Some(incarnation(1)));
    let refused = router.submit(command(), false, DEADLINE, None).await;
    assert_eq!(refused, Err(SubmitError::Rejected(Rejection::NotFound)));
    assert_eq!(host.seen.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_serve_is_asked_as_often_as_it_says_and_not_beyond_the_deadline() {
    let four_seconds = Duration::from_secs(4);
    for (retry_after_ms, attempts) in [(10_000, 1), (1_500, 3)] {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Unavailable { retry_after_ms }]);
        let router = net.node(1, &host).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        let begun = tokio::time::Instant::now();
        let answer = router.submit(command(), false, four_seconds, None).await;
        assert_eq!(answer, Err(SubmitError::Unavailable { retry_after_ms }));
        assert_eq!(host.seen.lock().len(), attempts);
        assert!(begun.elapsed() < four_seconds);
    }
}
