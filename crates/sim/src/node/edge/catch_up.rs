//! What a cursor missed, as `edge/src/resume.rs` brings it: judged once, then read page by page, with live events waiting behind.

use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Seq};
use hubbub_edge::sim::{EventItem, Ticket, frame, raw_event, resync_frame};
use hubbub_wire::client::{ServerFrame, close};
use hubbub_wire::stored::EventRow;

use crate::node::edge::Edge;
use crate::node::edge::ask::{EdgeAsk, Failed, Judged, PAGE_ROWS};
use crate::wires::{Ask, NodeInput, Wires};

/// Pause before a read is tried again, in milliseconds.
const RETRY_MS: u64 = 250;
/// Reads that fail this often end the socket.
const ATTEMPTS_MAX: u32 = 60;
/// Pause while the socket's queue has no room, in milliseconds.
const NO_ROOM_MS: u64 = 20;

/// The catch-up of one cursor.
pub struct Job {
    socket: u64,
    user: UserId,
    conversation: ConversationId,
    epoch: Epoch,
    seq: Seq,
    ticket: Ticket,
    progress: Option<Progress>,
    attempts: u32,
    waiting: Vec<EventRow>,
    is_last: bool,
    is_unread: bool,
    forgotten: u64,
}

#[derive(Clone, Copy)]
struct Progress {
    position: Seq,
    joined: Seq,
}

impl Edge {
    /// Begins a catch-up.
    pub(super) fn begin_catch_up(
        &mut self,
        socket: u64,
        user: UserId,
        conversation: ConversationId,
        (epoch, seq): (Epoch, Seq),
        ticket: Ticket,
        wires: &mut Wires,
    ) {
        let number = self.new_number();
        let job = Job {
            socket,
            user,
            conversation,
            epoch,
            seq,
            ticket,
            progress: None,
            attempts: 1,
            waiting: Vec::new(),
            is_last: false,
            is_unread: false,
            forgotten: self.rooms.forgotten(),
        };
        self.jobs.insert(number, job);
        self.ask_on(number, wires);
    }

    fn ask_on(&mut self, number: u64, wires: &mut Wires) {
        let Some(job) = self.jobs.get(&number) else {
            return;
        };
        let ask = match job.progress {
            None => EdgeAsk::Judge {
                job: number,
                user: job.user,
                conversation: job.conversation,
                epoch: job.epoch,
                seq: job.seq,
            },
            Some(progress) => EdgeAsk::Page {
                job: number,
                conversation: job.conversation,
                from: progress.position.next(),
            },
        };
        wires.ask(self.me, Ask::Edge(ask));
    }

    /// Where the stream begins is known.
    pub fn on_judged(&mut self, number: u64, judged: Result<Judged, Failed>, wires: &mut Wires) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let (socket, conversation, ticket) = (job.socket, job.conversation, job.ticket);
        let Some(queue) = self
            .sockets
            .get_mut(&socket)
            .map(|socket| &mut socket.queue)
        else {
            self.jobs.remove(&number);
            return;
        };
        match judged {
            Err(failed) => return self.catch_up_failed(number, failed, wires),
            Ok(Judged::Current) => {
                let (epoch, seq, forgotten) = (job.epoch, job.seq, job.forgotten);
                queue.note_held(conversation, epoch);
                queue.release(conversation, ticket, Some(seq));
                self.rooms.learn(conversation, epoch, seq, forgotten);
                self.end_catch_up(number, wires);
            }
            Ok(Judged::Ignore) => {
                queue.release(conversation, ticket, None);
                self.end_catch_up(number, wires);
            }
            Ok(Judged::Resync { controls, head }) => {
                wires.counters.one("resyncs instead of catching up");
                for control in controls {
                    queue.feed_control(conversation, ticket, control);
                }
                let resync = resync_frame(Some(&[(conversation, head.0, head.1)]));
                queue.feed_control(conversation, ticket, resync);
                queue.note_held(conversation, head.0);
                queue.release(conversation, ticket, Some(head.1));
                self.end_catch_up(number, wires);
            }
            Ok(Judged::From {
                controls,
                from,
                joined,
                is_sound,
            }) => {
                wires.counters.one("cursors caught up");
                if is_sound {
                    queue.note_held(conversation, job.epoch);
                }
                for control in controls {
                    queue.feed_control(conversation, ticket, control);
                }
                job.progress = Some(Progress {
                    position: from.prev(),
                    joined,
                });
                self.ask_on(number, wires);
            }
        }
        self.pump(socket, wires);
    }

    /// A page is here.
    pub fn on_page(&mut self, number: u64, rows: Result<Vec<EventRow>, Failed>, wires: &mut Wires) {
        match rows {
            Err(failed) => self.catch_up_failed(number, failed, wires),
            Ok(mut rows) => {
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.is_last = rows.len() < PAGE_ROWS;
                    rows.reverse();
                    job.waiting = rows;
                }
                self.feed_on(number, wires);
            }
        }
    }

    /// Feeds what is read, as far as there is room.
    pub fn feed_on(&mut self, number: u64, wires: &mut Wires) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let socket = job.socket;
        let Some(queue) = self
            .sockets
            .get_mut(&socket)
            .map(|socket| &mut socket.queue)
        else {
            self.jobs.remove(&number);
            return;
        };
        let Some(mut progress) = job.progress else {
            return self.ask_on(number, wires);
        };
        loop {
            if !queue.has_room() {
                job.progress = Some(progress);
                let go_on = NodeInput::CatchUpGoesOn { job: number };
                wires.wake(self.me, NO_ROOM_MS, go_on);
                return self.pump(socket, wires);
            }
            let Some(row) = job.waiting.pop() else { break };
            let stops = match row.decode() {
                Err(_unreadable) => {
                    job.is_unread = true;
                    true
                }
                Ok(recorded) if row.seq > progress.joined && ends(&recorded, job.user) => true,
                Ok(recorded) => {
                    let text = frame(&ServerFrame::Event(raw_event(row.epoch, &recorded)));
                    let item = EventItem {
                        conversation: job.conversation,
                        epoch: row.epoch,
                        seq: row.seq,
                        frame: text,
                    };
                    queue.feed_event(job.ticket, item);
                    progress.position = row.seq;
                    false
                }
            };
            if stops {
                job.waiting.clear();
                job.is_last = true;
            }
        }
        job.progress = Some(progress);
        if job.is_last {
            let floor = Some(progress.position);
            if job.is_unread {
                queue.release_unread(job.conversation, job.ticket, floor);
            } else {
                queue.release(job.conversation, job.ticket, floor);
            }
            self.end_catch_up(number, wires);
        } else {
            self.ask_on(number, wires);
        }
        self.pump(socket, wires);
    }

    fn catch_up_failed(&mut self, number: u64, failed: Failed, wires: &mut Wires) {
        let Some(job) = self.jobs.get_mut(&number) else {
            return;
        };
        let socket = job.socket;
        match failed {
            Failed::Unreadable => {
                let floor = job.progress.map(|progress| progress.position);
                let (conversation, ticket) = (job.conversation, job.ticket);
                if let Some(socket) = self.sockets.get_mut(&socket) {
                    socket.queue.release_unread(conversation, ticket, floor);
                }
                self.end_catch_up(number, wires);
                self.pump(socket, wires);
            }
            Failed::Later => {
                job.attempts = job.attempts.saturating_add(1);
                if job.attempts > ATTEMPTS_MAX {
                    self.jobs.remove(&number);
                    return self.close(socket, close::DEGRADED, wires);
                }
                wires.wake(self.me, RETRY_MS, NodeInput::CatchUpGoesOn { job: number });
            }
        }
    }

    /// One catch-up less; after the last one the socket is told so.
    fn end_catch_up(&mut self, number: u64, wires: &mut Wires) {
        let Some(job) = self.jobs.remove(&number) else {
            return;
        };
        if let Some(socket) = self.sockets.get_mut(&job.socket) {
            socket.catch_ups = socket.catch_ups.saturating_sub(1);
            if socket.catch_ups == 0 {
                socket.queue.push_last(frame(&ServerFrame::Live));
            }
        }
        self.pump(job.socket, wires);
    }
}

/// Whether the reader stops being a member by this event.
fn ends(recorded: &Recorded, user: UserId) -> bool {
    matches!(&recorded.event, Event::MemberRemoved { user: removed, .. } if *removed == user)
}
