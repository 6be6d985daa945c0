//! The lines that ask for connections, numbered as they come.

use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;

/// A table by address, which is only ever added to: finding one that is there is a look or two.
/// There is none before the first.
pub(crate) struct Sites(OnceLock<Box<[Site]>>);

type Site = OnceLock<&'static Location<'static>>;

const PLACES: usize = 256;

/// The number of those for whom there is no place.
const ANOTHER: u32 = u32::MAX;

impl Sites {
    pub(crate) fn new() -> Self {
        Sites(OnceLock::new())
    }

    /// The number of `site`, from now on and ever after.
    #[inline]
    pub(crate) fn index_of(&self, site: &'static Location<'static>) -> u32 {
        // Locations are a few words apart from each other.
        let start = ptr::from_ref(site).addr() >> 3;
        let places = self
            .0
            .get_or_init(|| (0..PLACES).map(|_| OnceLock::new()).collect());
        for probe in 0..PLACES {
            let index = start.wrapping_add(probe) % PLACES;
            let Some(place) = places.get(index) else {
                break;
            };
            // If two come for a place at once, one of them has it and the other one looks on.
            if ptr::eq(*place.get_or_init(|| site), site) {
                return u32::try_from(index).unwrap_or(ANOTHER);
            }
        }
        ANOTHER
    }

    pub(crate) fn get(&self, index: u32) -> Option<&'static Location<'static>> {
        let index = usize::try_from(index).ok()?;
        self.0.get()?.get(index)?.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere() -> &'static Location<'static> {
        Box::leak(Box::new(*Location::caller()))
    }

    #[test]
    fn every_line_keeps_its_number_and_the_last_ones_share_one() {
        let sites = Sites::new();
        let lines: Vec<_> = (0..PLACES + 2).map(|_| somewhere()).collect();
        let numbers: Vec<u32> = lines.iter().map(|line| sites.index_of(line)).collect();
        for (line, number) in lines.iter().zip(&numbers).take(PLACES) {
            assert_eq!(sites.index_of(line), *number);
            assert!(
                sites
                    .get(*number)
                    .is_some_and(|found| ptr::eq(found, *line))
            );
        }
        assert_eq!(numbers[PLACES..], [ANOTHER, ANOTHER]);
        assert_eq!(sites.get(ANOTHER), None);
    }
}
