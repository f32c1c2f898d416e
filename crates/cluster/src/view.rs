//! What this process believes about owners: a hint table that the router reads on every command.
//!
//! Entries only move to higher epochs, from three sources: the ownership loop's read of the fence rows, head broadcasts, and the hint in a
//! `WrongOwner` answer. A wrong entry costs a round trip, never an event.

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use parking_lot::RwLock;
use tokio::sync::watch;

/// Owner and epoch of every partition, as far as known here.
#[derive(Debug)]
pub struct OwnersView {
    /// Indexed by partition number; short critical sections, never held across an await.
    entries: RwLock<Vec<Entry>>,
    /// Rises with every change, so that waiters look again.
    changed: watch::Sender<u64>,
    partitions: PartitionCount,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    epoch: Epoch,
    owner: Option<Incarnation>,
}

impl OwnersView {
    /// A view that knows nothing yet.
    pub fn new(partitions: PartitionCount) -> Self {
        Self {
            entries: RwLock::new(vec![Entry::default(); usize::from(partitions.get())]),
            changed: watch::Sender::new(0),
            partitions,
        }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    /// The owner believed in, with its epoch.
    pub fn owner(&self, partition: PartitionId) -> Option<(Incarnation, Epoch)> {
        let entries = self.entries.read();
        let entry = entries.get(usize::from(partition.get()))?;
        entry.owner.map(|owner| (owner, entry.epoch))
    }

    /// Learns of an owner. Older epochs are ignored.
    pub fn learn(&self, partition: PartitionId, epoch: Epoch, owner: Option<Incarnation>) {
        let mut entries = self.entries.write();
        let Some(entry) = entries.get_mut(usize::from(partition.get())) else {
            return;
        };
        let newer = epoch > entry.epoch || (epoch == entry.epoch && owner != entry.owner);
        if newer {
            *entry = Entry { epoch, owner };
            drop(entries);
            self.changed
                .send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    /// Forgets an owner that turned out not to be one (no responder, wrong owner without a hint), if the entry is still that one.
    pub fn doubt(&self, partition: PartitionId, owner: Incarnation, epoch: Epoch) {
        let mut entries = self.entries.write();
        let Some(entry) = entries.get_mut(usize::from(partition.get())) else {
            return;
        };
        if entry.owner == Some(owner) && entry.epoch == epoch {
            entry.owner = None;
        }
    }

    /// Wakes on every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How many partitions each of these owners holds in this view.
    pub fn count_owned_by(&self, owner: Incarnation) -> usize {
        self.entries
            .read()
            .iter()
            .filter(|entry| entry.owner == Some(owner))
            .count()
    }
}
