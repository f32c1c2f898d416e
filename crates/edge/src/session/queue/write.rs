//! Taking out of the queue what is written next: by importance, several frames at once.

use crate::session::queue::{COALESCE_BYTES_MAX, Frame, Item, Queue, Write};

impl Queue {
    /// The next write, if anything waits.
    pub fn pop(&mut self) -> Option<Write> {
        let mut frames = Vec::new();
        let mut bytes = 0_usize;
        let was_lagging = self.is_lagging();
        while let Some(length) = self.peek_len() {
            if !frames.is_empty() && bytes.saturating_add(length) > COALESCE_BYTES_MAX {
                break;
            }
            let Some(frame) = self.pop_frame() else { break };
            bytes = bytes.saturating_add(frame.len()).saturating_add(1);
            frames.push(frame);
        }
        let count = frames.len();
        let resync = was_lagging && !self.is_lagging();
        match count {
            0 => None,
            1 => frames.pop().map(|text| Write {
                text,
                frames: 1,
                resync,
            }),
            _ => {
                let mut text = String::with_capacity(bytes.saturating_add(1));
                for frame in &frames {
                    text.push(if text.is_empty() { '[' } else { ',' });
                    text.push_str(frame);
                }
                text.push(']');
                Some(Write {
                    text: text.into(),
                    frames: count,
                    resync,
                })
            }
        }
    }

    /// Bytes of the next frame, if anything waits.
    pub(super) fn peek_len(&self) -> Option<usize> {
        if let Some(frame) = self.answers.front() {
            return Some(frame.len());
        }
        match self.items.front() {
            Some(Item::Event(event)) => return Some(event.frame.len()),
            Some(Item::Control(frame)) => return Some(frame.len()),
            None => {}
        }
        if self.is_lagging() {
            // Alone in its write: its length is known only once it is encoded.
            return Some(COALESCE_BYTES_MAX);
        }
        self.latest.front().map(|(_, frame)| frame.len())
    }

    fn pop_frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.answers.pop_front() {
            self.answer_bytes = self.answer_bytes.saturating_sub(frame.len());
            return Some(frame);
        }
        match self.items.pop_front() {
            Some(Item::Event(event)) => {
                self.queued_bytes = self.queued_bytes.saturating_sub(event.frame.len());
                return Some(event.frame);
            }
            Some(Item::Control(frame)) => {
                self.controls = self.controls.saturating_sub(1);
                return Some(frame);
            }
            None => {}
        }
        if self.is_lagging() {
            let lagging = std::mem::take(&mut self.lagging);
            let all = std::mem::take(&mut self.lagging_all);
            let named: Vec<_> = lagging
                .into_iter()
                .map(|(conversation, (epoch, seq))| (conversation, epoch, seq))
                .collect();
            return Some((self.encode_resync)(if all { None } else { Some(&named) }));
        }
        self.latest.pop_front().map(|(_, frame)| frame)
    }
}
