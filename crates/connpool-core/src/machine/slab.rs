//! Counting that cannot go wrong in silence, and storage with stable keys.
//!
//! Beside [`moment`](crate::time), the one place of the crate where integers are added and
//! slices are indexed; everywhere else the lints forbid both.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::expect_used
)]

/// A number of things that exist.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(usize);

impl Count {
    pub(crate) fn get(self) -> usize {
        self.0
    }

    pub(crate) fn one_more(&mut self) {
        self.0 = self
            .0
            .checked_add(1)
            .expect("more things than memory can hold");
    }

    /// # Panics
    ///
    /// If there is none: something was given back twice, which the owner of the count excludes.
    pub(crate) fn one_less(&mut self) {
        self.0 = self
            .0
            .checked_sub(1)
            .expect("something was given back that was never taken");
    }
}

/// Hands out numbers that never come twice.
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// The last one that was handed out; zero: none was.
    pub(crate) fn last(&self) -> u64 {
        self.0
    }
}

/// A place in a [`Slab`]. Valid until the value is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u32);

/// Values with keys that stay valid while others come and go; a freed place is used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Option<u32>,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Free { next: Option<u32> },
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            places: Vec::new(),
            free: None,
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free {
            let place = &mut self.places[index as usize];
            if let Place::Free { next } = *place {
                self.free = next;
            }
            *place = Place::Taken(value);
            return Key(index);
        }
        let index = u32::try_from(self.places.len()).expect("more than u32::MAX waiters");
        self.places.push(Place::Taken(value));
        Key(index)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.0 as usize)?;
        if matches!(place, Place::Free { .. }) {
            return None;
        }
        let freed = std::mem::replace(place, Place::Free { next: self.free });
        self.free = Some(key.0);
        match freed {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.0 as usize)? {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.0 as usize)? {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }
}

/// Values that belong to the keys of a [`Slab`] kept elsewhere.
#[derive(Debug)]
pub(crate) struct Companion<T>(Vec<Option<T>>);

impl<T> Default for Companion<T> {
    fn default() -> Self {
        Companion(Vec::new())
    }
}

impl<T> Companion<T> {
    pub(crate) fn insert(&mut self, key: Key, value: T) -> Option<T> {
        let index = key.0 as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].replace(value)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.0.get_mut(key.0 as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.0.get_mut(key.0 as usize)?.take()
    }
}

/// The number of one thing for as long as it exists, which says where it is kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot(u32);

/// In which block of which directory, and where in it. Each directory has twice as many blocks as the one
/// before it: growing moves nothing, and what is not used yet is at most one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shelf {
    pub(crate) directory: usize,
    pub(crate) block: usize,
    pub(crate) nth: usize,
}

/// How many directories there are at most, so that every number of 32 bits has its spot.
pub(crate) const DIRECTORIES: usize = 27;

/// How many spots a block has.
pub(crate) const BLOCK: usize = 64;

/// How many blocks a directory has.
pub(crate) fn blocks_of(directory: usize) -> usize {
    1 << directory
}

impl Spot {
    /// Numbers that follow each other lie four apart in their block, so that they share no cache line.
    #[inline]
    pub(crate) fn shelf(self) -> Shelf {
        let number = self.0 as usize;
        let (block, nth) = (number / BLOCK, number % BLOCK);
        let directory = (block + 1).ilog2() as usize;
        let quarter = BLOCK / 4;
        Shelf {
            directory,
            block: block + 1 - blocks_of(directory),
            nth: nth % quarter * 4 + nth / quarter,
        }
    }

    /// The one that lies there.
    pub(crate) fn at(shelf: Shelf) -> Spot {
        let quarter = BLOCK / 4;
        let nth = shelf.nth / 4 + shelf.nth % 4 * quarter;
        let block = blocks_of(shelf.directory) - 1 + shelf.block;
        Spot((block * BLOCK + nth) as u32)
    }
}

/// Hands out [`Spot`]s, those given back first.
#[derive(Debug, Default)]
pub(crate) struct Spots {
    free: Vec<Spot>,
    next: u32,
}

impl Spots {
    pub(crate) fn take(&mut self) -> Spot {
        self.free.pop().unwrap_or_else(|| {
            let spot = Spot(self.next);
            self.next = self
                .next
                .checked_add(1)
                .expect("more than u32::MAX connections");
            spot
        })
    }

    pub(crate) fn give_back(&mut self, spot: Spot) {
        self.free.push(spot);
    }
}

/// Rounds `n` up to a multiple of `step`, or to the largest number there is.
pub(crate) fn round_up(n: usize, step: usize) -> usize {
    // A division takes as long as all the rest of a hand-over's arithmetic.
    if step <= 1 {
        return n;
    }
    n.checked_next_multiple_of(step).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_place_is_used_again_and_other_keys_stay_valid() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.get(b), Some(&'b'));
        assert_eq!(slab.insert('c'), a);
        assert_eq!(slab.places.len(), 2);
        assert_eq!(slab.insert('d'), Key(2));
    }

    #[test]
    fn removing_twice_takes_nothing_twice() {
        let mut slab = Slab::default();
        let key = slab.insert(1);
        assert_eq!(slab.remove(key), Some(1));
        assert_eq!(slab.remove(key), None);
        assert_eq!((slab.insert(2), slab.insert(3)), (Key(0), Key(1)));
    }

    #[test]
    fn a_companion_grows_to_its_key_and_forgets_what_is_removed() {
        let mut companion = Companion::default();
        assert_eq!(companion.insert(Key(3), 'd'), None);
        assert_eq!(companion.insert(Key(3), 'e'), Some('d'));
        assert_eq!(companion.get_mut(Key(1)), None);
        assert_eq!(companion.remove(Key(3)), Some('e'));
        assert_eq!(companion.remove(Key(3)), None);
        assert_eq!(companion.remove(Key(9)), None);
    }

    #[test]
    fn every_spot_is_another_one_until_it_is_given_back() {
        let mut spots = Spots::default();
        let [a, b] = [spots.take(), spots.take()];
        assert_ne!(a, b);
        spots.give_back(a);
        assert_eq!(spots.take(), a);
        assert_ne!(spots.take(), b);
    }

    #[test]
    fn spots_fill_one_block_after_the_other_and_neighbours_lie_apart() {
        let mut spots = Spots::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..BLOCK * 7 {
            let spot = spots.take();
            let shelf = spot.shelf();
            assert!(shelf.nth < BLOCK, "{shelf:?}");
            assert!(shelf.block < blocks_of(shelf.directory), "{shelf:?}");
            assert_eq!(Spot::at(shelf), spot);
            assert!(seen.insert(shelf), "{shelf:?}");
        }
        let last = Shelf {
            directory: 2,
            block: 3,
            nth: 63,
        };
        assert_eq!(seen.last(), Some(&last));
        assert_eq!([0, 1, 16].map(|number| Spot(number).shelf().nth), [0, 4, 1]);
        assert_eq!(Spot(u32::MAX).shelf().directory, DIRECTORIES - 1);
    }

    #[test]
    #[should_panic(expected = "never taken")]
    fn a_count_does_not_pass_below_zero() {
        Count::default().one_less();
    }

    #[test]
    fn batches_are_whole_multiples() {
        assert_eq!([0, 1, 2, 3].map(|n| round_up(n, 2)), [0, 2, 2, 4]);
        assert_eq!(round_up(5, 0), 5);
        assert_eq!(round_up(usize::MAX, 2), usize::MAX);
    }
}
