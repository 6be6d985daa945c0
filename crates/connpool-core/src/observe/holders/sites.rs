//! The lines that ask for connections, to be found by their addresses.

use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;

/// A table by address, which is only ever added to: finding one that is there is a look or two.
/// There is none before the first.
pub(crate) struct Sites(OnceLock<Box<[Site]>>);

type Site = OnceLock<&'static Location<'static>>;

const PLACES: usize = 256;

/// What a line is known by.
#[inline]
pub(crate) fn address_of(site: &'static Location<'static>) -> usize {
    ptr::from_ref(site).addr()
}

impl Sites {
    pub(crate) fn new() -> Self {
        Sites(OnceLock::new())
    }

    /// From now on, `site` can be found by its address, if there is a place left for it.
    pub(crate) fn note(&self, site: &'static Location<'static>) {
        let places = self
            .0
            .get_or_init(|| (0..PLACES).map(|_| OnceLock::new()).collect());
        // If two come for a place at once, one of them has it and the other one looks on.
        probe(places, address_of(site)).find(|place| ptr::eq(*place.get_or_init(|| site), site));
    }

    pub(crate) fn find(&self, address: usize) -> Option<&'static Location<'static>> {
        probe(self.0.get()?, address)
            .map_while(OnceLock::get)
            .find(|site| address_of(site) == address)
            .copied()
    }
}

/// All places, in the order in which one address looks through them.
fn probe(places: &[Site], address: usize) -> impl Iterator<Item = &Site> {
    // Locations are a few words apart from each other.
    let start = (address >> 3) % PLACES;
    places.iter().cycle().skip(start).take(PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somewhere() -> &'static Location<'static> {
        Box::leak(Box::new(*Location::caller()))
    }

    #[test]
    fn every_line_is_found_by_its_address_but_those_without_a_place() {
        let sites = Sites::new();
        assert_eq!(sites.find(address_of(Location::caller())), None);
        let lines: Vec<_> = (0..PLACES + 2).map(|_| somewhere()).collect();
        lines.iter().chain(&lines).for_each(|line| sites.note(line));
        let found = |line: &&'static Location<'static>| {
            let found = sites.find(address_of(line));
            found.is_some_and(|found| ptr::eq(found, *line))
        };
        assert!(lines[..PLACES].iter().all(found));
        assert!(!lines[PLACES..].iter().any(found));
    }
}
