//! Footnotes, each once, however often it is referred to.

#[derive(Default)]
pub(super) struct Footnotes(Vec<String>);

impl Footnotes {
    /// The figure, with a mark for each part of what there is to say about it.
    pub(super) fn marked(&mut self, figure: String, note: Option<&str>) -> String {
        let parts = note.into_iter().flat_map(|note| note.split("; "));
        parts.fold(figure, |figure, part| {
            let known = self.0.iter().position(|known| known == part);
            let at = known.unwrap_or_else(|| {
                self.0.push(part.to_owned());
                self.0.len() - 1
            });
            format!("{figure} {}", mark(at))
        })
    }

    /// The notes, with their marks.
    pub(super) fn lines(self) -> Vec<String> {
        let lines = self.0.iter().enumerate();
        lines
            .map(|(at, note)| format!("{} {note}", mark(at)))
            .collect()
    }
}

/// The number of a note, small and raised.
fn mark(at: usize) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |digit: char| digit.to_digit(10).map(|digit| digits[digit as usize]);
    (at + 1).to_string().chars().filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stands_once_and_each_of_its_parts_by_itself() {
        let mut notes = Footnotes::default();
        let mut marked = |note| notes.marked("1.2x".to_owned(), note);
        assert_eq!(
            marked(Some("has no limits; was not done in time")),
            "1.2x ¹ ²"
        );
        assert_eq!(marked(Some("was not done in time")), "1.2x ²");
        assert_eq!(marked(None), "1.2x");
        assert_eq!(notes.lines(), ["¹ has no limits", "² was not done in time"]);
    }

    #[test]
    fn there_is_a_mark_for_every_number() {
        assert_eq!(mark(0), "¹");
        assert_eq!(mark(119), "¹²⁰");
    }
}
