//! What each key may hold: the write that was acknowledged or read last, or one that was asked for after it.
//!
//! Each key belongs to one client, and a node carries the writes of one connection out in their order.
//! So no key may hold a write from before its last acknowledged one.

use std::collections::VecDeque;

/// A write, by its number in the lane, which its value tells as well; without a value it is a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) number: u64,
    pub(super) value: Option<String>,
}

/// What a read has found: nothing, or a value with its version.
pub(super) type Found = Option<(String, String)>;

/// Which writes a key may hold.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    /// The write that was acknowledged or read last.
    pub(super) floor: Write,
    /// Its version, where that is known.
    pub(super) version: Option<String>,
    /// Writes that were asked for after that, in this order.
    pub(super) later: VecDeque<Write>,
    /// The last removal that was asked for.
    last_removal: u64,
}

/// How a key fails to hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Lost(String),
    Resurrected(String),
    Wrong(String),
}

impl Key {
    /// A key that no client has written.
    pub(super) fn new(name: String) -> Self {
        let floor = Write { number: 0, value: None };
        Self { name, floor, version: None, later: VecDeque::new(), last_removal: 0 }
    }

    /// Whether the key's value is certain, with its version.
    pub(super) fn is_certain(&self) -> bool {
        self.later.is_empty() && (self.floor.value.is_none() || self.version.is_some())
    }

    /// Takes note that a write was asked for.
    pub(super) fn ask(&mut self, write: Write) {
        if write.value.is_none() {
            self.last_removal = write.number;
        }
        self.later.push_back(write);
    }

    /// Takes note that a write was acknowledged, with this version where it has one.
    pub(super) fn acknowledge(&mut self, number: u64, version: Option<String>) {
        self.raise(number, version);
    }

    /// Takes note that a write was not carried out.
    pub(super) fn forget(&mut self, number: u64) {
        self.later.retain(|it| it.number != number);
    }

    /// Judges a read while others wrote: it may find nothing older than the floor when it was asked for. The
    /// value that it found must not vanish any more.
    pub(super) fn read(&mut self, floor_then: u64, found: &Found) -> Result<(), Fault> {
        let Some((value, version)) = found else {
            let is_possible = self.last_removal >= floor_then;
            return if is_possible { Ok(()) } else { Err(Fault::Wrong(self.text("none", found))) };
        };
        let number = number_of(value).filter(|it| *it >= floor_then);
        match number {
            None => Err(Fault::Wrong(self.text("an older value", found))),
            Some(number)
                if number > self.floor.number
                    && !self.later.iter().any(|it| it.number == number) =>
            {
                Err(Fault::Wrong(self.text("what nobody wrote", found)))
            }
            Some(number) => {
                self.raise(number, Some(version.clone()));
                Ok(())
            }
        }
    }

    /// Judges a key's value after a crash, and takes it for certain from then on. Returns whether it
    /// is a write whose outcome was unknown.
    pub(super) fn recover(&mut self, found: &Found) -> Result<bool, Fault> {
        let value = found.as_ref().map(|(value, _)| value.clone());
        let later = self.later.iter().find(|it| it.value == value).cloned();
        let verdict = if value == self.floor.value {
            let same = |(_, version): &(String, String)| {
                self.version.as_ref().is_none_or(|known| known == version)
            };
            match found.as_ref().is_none_or(same) {
                true => Ok(false),
                false => Err(Fault::Wrong(self.text("another version", found))),
            }
        } else if later.is_some() {
            Ok(true)
        } else {
            Err(self.fault(found))
        };
        // Where something is wrong, it is reported once.
        let number = value.as_deref().and_then(number_of);
        let unknown = Write { number: number.unwrap_or(self.floor.number), value };
        self.floor =
            if verdict == Ok(false) { self.floor.clone() } else { later.unwrap_or(unknown) };
        self.version = found.as_ref().map(|(_, version)| version.clone());
        self.later.clear();
        verdict
    }

    fn fault(&self, found: &Found) -> Fault {
        let number = found.as_ref().map(|(value, _)| number_of(value));
        match number {
            Some(Some(number)) if number < self.floor.number && self.floor.value.is_none() => {
                Fault::Resurrected(self.text("what was removed", found))
            }
            Some(Some(number)) if number < self.floor.number => {
                Fault::Lost(self.text("what was there before", found))
            }
            Some(_) => Fault::Wrong(self.text("what nobody wrote", found)),
            None => Fault::Lost(self.text("none", found)),
        }
    }

    fn raise(&mut self, number: u64, version: Option<String>) {
        while self.later.front().is_some_and(|it| it.number <= number) {
            if let Some(write) = self.later.pop_front()
                && write.number == number
            {
                self.floor = write;
                self.version = version;
                return;
            }
        }
    }

    fn text(&self, what: &str, found: &Found) -> String {
        let found = found.as_ref().map(|(value, version)| (head(value), version));
        let later: Vec<_> = self.later.iter().map(|it| (it.number, it.value.is_some())).collect();
        format!(
            "{} holds {what}: {found:?}; w{} ({:?}, version {:?}) is certain, and later {later:?} were asked for",
            self.name,
            self.floor.number,
            self.floor.value.as_deref().map(head),
            self.version,
        )
    }
}

/// The value of a write, which tells its number, and is so long.
pub(super) fn value(number: u64, bytes: usize) -> String {
    format!("w{number}:{}", "x".repeat(bytes))
}

fn number_of(value: &str) -> Option<u64> {
    value.strip_prefix('w')?.split_once(':')?.0.parse().ok()
}

fn head(value: &str) -> &str {
    value.split_once(':').map_or("?", |(head, _)| head)
}
