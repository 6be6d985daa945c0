//! Footnotes of a table, without duplicates.

#[derive(Default)]
pub(super) struct Footnotes(Vec<String>);

impl Footnotes {
    /// Appends the marks of a note to a figure. Parts of a note are separated by `; `.
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

    /// Returns the footnotes with their marks.
    pub(super) fn lines(self) -> Vec<String> {
        let lines = self.0.iter().enumerate();
        lines.map(|(at, note)| format!("{} {note}", mark(at))).collect()
    }
}

/// Returns the superscript number of a footnote.
fn mark(at: usize) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |digit: char| digit.to_digit(10).map(|digit| digits[digit as usize]);
    (at + 1).to_string().chars().filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_listed_once_and_split_into_parts() {
        let mut notes = Footnotes::default();
        let mut marked = |note| notes.marked("1.2x".to_owned(), note);
        assert_eq!(marked(Some("has no limits; did not finish in time")), "1.2x ¹ ²");
        assert_eq!(marked(Some("did not finish in time")), "1.2x ²");
        assert_eq!(marked(None), "1.2x");
        assert_eq!(notes.lines(), ["¹ has no limits", "² did not finish in time"]);
    }
}
