//! What a run did, as a hash to compare and, on demand, as lines to read.

/// The trace of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    prints: bool,
}

impl Trace {
    /// Hashes; prints as well when told to.
    pub const fn new(prints: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            prints,
        }
    }

    /// Takes a number in.
    pub const fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// Takes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.mix(u64::from(crc32fast::hash(bytes)));
    }

    /// Prints a line, if lines are wanted; otherwise it is not even made.
    #[expect(
        clippy::print_stdout,
        reason = "a trace is what the person at the terminal has asked for"
    )]
    pub fn line(&self, now_ms: u64, line: impl FnOnce() -> String) {
        if self.prints {
            println!("{:>7} ms  {}", now_ms, line());
        }
    }

    /// Whether lines are wanted.
    pub const fn prints(&self) -> bool {
        self.prints
    }

    /// Equal runs have equal hashes.
    pub const fn hash(&self) -> u64 {
        self.hash
    }
}
