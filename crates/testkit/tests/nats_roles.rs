//! Who may do what on the reference NATS cluster (`nats/cluster/common.conf`), asked of real servers.
//!
//! Speaks the protocol itself, a dozen lines of text: only the bus may name the client library.
//!
//! Never: a permission that is believed because it is written down.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test stop the test"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use hubbub_testkit::nats::{NatsCluster, Role};
use hubbub_testkit::wait;

/// A connection that says what it does and hears everything.
struct Line {
    reader: BufReader<TcpStream>,
    /// Every subscription has a number of its own: the server ignores one that it knows already.
    subscriptions: u32,
}

impl Line {
    /// Connects with these credentials, as they stand in `CONNECT`.
    fn open(address: SocketAddr, credentials: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a server listens");
        stream
            .set_read_timeout(Some(wait::DEADLINE))
            .expect("a deadline can be set");
        let mut line = Self {
            reader: BufReader::new(stream),
            subscriptions: 0,
        };
        assert!(line.hear().starts_with("INFO "));
        line.say(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":false{credentials}}}"
        ));
        line
    }

    fn of(cluster: &NatsCluster, n: usize, role: Role) -> Self {
        let (user, password) = (role.user(), cluster.password(role));
        let credentials = format!(",\"user\":\"{user}\",\"pass\":\"{password}\"");
        let mut line = Self::open(cluster.addresses()[n], &credentials);
        assert_eq!(
            line.until_pong(),
            Vec::<String>::new(),
            "{role:?} is let in"
        );
        line
    }

    fn say(&mut self, text: &str) {
        let stream = self.reader.get_mut();
        write!(stream, "{text}\r\n").expect("the server reads");
    }

    /// The next line; empty when the server has closed.
    fn hear(&mut self) -> String {
        let mut text = String::new();
        // A refused connection may be reset before it is read to its end.
        let _closed = self.reader.read_line(&mut text);
        text.trim_end().to_owned()
    }

    /// Everything the server says until it has taken all that was said so far.
    fn until_pong(&mut self) -> Vec<String> {
        self.say("PING");
        let mut heard = Vec::new();
        loop {
            let line = self.hear();
            match line.as_str() {
                "PONG" => return heard,
                // Servers tell each other's coming and going, and ask whether we live.
                "PING" => self.say("PONG"),
                info if info.starts_with("INFO ") => {}
                "" => panic!("closed after {heard:?}"),
                _ => heard.push(line),
            }
        }
    }

    /// What the server answers to publishing one byte there; empty when it lets it pass.
    fn publish(&mut self, subject: &str) -> String {
        self.say(&format!("PUB {subject} 1\r\nx"));
        self.complaints()
    }

    /// What the server answers to listening there; empty when it lets it.
    fn subscribe(&mut self, subject: &str) -> String {
        self.subscriptions += 1;
        self.say(&format!("SUB {subject} {}", self.subscriptions));
        self.complaints()
    }

    fn complaints(&mut self) -> String {
        let mut heard = self.until_pong();
        heard.retain(|line| line.starts_with("-ERR"));
        heard.join(" ")
    }
}

/// What the bus uses: `nats/subjects.md`.
const OF_THE_BUS: [&str; 8] = [
    "hub.ev.7",
    "hub.head",
    "hub.eph.1023",
    "hub.user",
    "hub.cmd.01900000-0000-7000-8000-0000000000ab",
    "hub.range.01900000-0000-7000-8000-0000000000ab",
    "_INBOX.hub.abc.a.1",
    "_INBOX.hub.abc.nobody",
];

/// What is nobody's business here.
const FOREIGN: [&str; 6] = [
    "$SYS.REQ.SERVER.PING",
    "$JS.API.STREAM.CREATE.x",
    "$KV.x.y",
    "hubbub.x",
    "other.thing",
    "_INBOX.someone.else",
];

#[test]
fn a_node_speaks_and_hears_the_bus_and_nothing_else() {
    let Some(cluster) = NatsCluster::start() else {
        return;
    };
    let mut node = Line::of(&cluster, 0, Role::Node);
    for subject in OF_THE_BUS.into_iter().chain(["hub.ev.*", "hub.>"]) {
        assert_eq!(node.subscribe(subject), "", "listen to {subject}");
    }
    let mut sender = Line::of(&cluster, 1, Role::Node);
    for subject in OF_THE_BUS {
        assert_eq!(sender.publish(subject), "", "publish on {subject}");
    }
    for subject in FOREIGN.into_iter().chain([">"]) {
        assert!(refused(&node.subscribe(subject)), "listen to {subject}");
    }
    for subject in FOREIGN {
        assert!(refused(&sender.publish(subject)), "publish on {subject}");
    }
    // Refusals do not end the connection: a bug in one subject is not an outage of all.
    assert_eq!(sender.publish("hub.head"), "");
}

#[test]
fn a_watcher_hears_heads_from_any_server_and_can_say_nothing() {
    let Some(cluster) = NatsCluster::start() else {
        return;
    };
    let mut watcher = Line::of(&cluster, 0, Role::Watch);
    assert_eq!(watcher.subscribe("hub.head"), "");
    let others = OF_THE_BUS
        .into_iter()
        .filter(|subject| *subject != "hub.head");
    for subject in others.chain(FOREIGN).chain(["hub.>", "hub.*", ">"]) {
        assert!(refused(&watcher.subscribe(subject)), "listen to {subject}");
    }
    for subject in OF_THE_BUS.into_iter().chain(FOREIGN) {
        assert!(refused(&watcher.publish(subject)), "publish on {subject}");
    }
    let mut node = Line::of(&cluster, 2, Role::Node);
    wait::blocking_until(wait::DEADLINE, "a head from another server", || {
        assert_eq!(node.publish("hub.head"), "");
        watcher
            .until_pong()
            .iter()
            .any(|line| line.starts_with("MSG hub.head "))
    });
}

#[test]
fn the_operator_sees_the_servers_and_not_the_bus() {
    let Some(cluster) = NatsCluster::start() else {
        return;
    };
    let mut operator = Line::of(&cluster, 0, Role::System);
    assert_eq!(operator.subscribe("hub.>"), "");
    assert_eq!(operator.subscribe("answers"), "");
    operator.say("PUB $SYS.REQ.SERVER.PING answers 0\r\n");
    wait::blocking_until(wait::DEADLINE, "a server to answer the operator", || {
        operator
            .until_pong()
            .iter()
            .any(|line| line.starts_with("MSG answers "))
    });
    let mut node = Line::of(&cluster, 0, Role::Node);
    assert_eq!(node.publish("hub.head"), "");
    let heard = operator.until_pong();
    assert!(
        !heard.iter().any(|line| line.contains("hub.head")),
        "{heard:?}"
    );
}

#[test]
fn nobody_is_let_in_without_a_name_or_with_a_wrong_password() {
    let Some(cluster) = NatsCluster::start() else {
        return;
    };
    for credentials in [
        "",
        ",\"user\":\"node\",\"pass\":\"change-me\"",
        ",\"user\":\"nobody\",\"pass\":\"x\"",
        ",\"user\":\"node\"",
    ] {
        for address in cluster.addresses() {
            let mut line = Line::open(address, credentials);
            let answer = line.hear();
            assert!(
                answer.starts_with("-ERR 'Authorization Violation'"),
                "{credentials}: {answer}"
            );
        }
    }
}

fn refused(answer: &str) -> bool {
    answer.starts_with("-ERR 'Permissions Violation")
}
