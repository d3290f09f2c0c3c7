//! One field of a schedule: stars, numbers, names, ranges, steps and lists of them. Pure.

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    name: &'static str,
    first: u32,
    last: u32,
    /// Of the first number and those after it.
    names: &'static [&'static str],
}

pub(super) const MINUTES: Kind = Kind { name: "minute", first: 0, last: 59, names: &[] };
pub(super) const HOURS: Kind = Kind { name: "hour", first: 0, last: 23, names: &[] };
pub(super) const DAYS: Kind = Kind { name: "day", first: 1, last: 31, names: &[] };
pub(super) const MONTHS: Kind = Kind {
    name: "month",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0, and 7 as well.
pub(super) const WEEKDAYS: Kind =
    Kind { name: "weekday", first: 0, last: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// The numbers of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    /// Written as `*` or `*/N`: no restriction in the eyes of cron.
    pub(super) starts_with_star: bool,
}

impl Field {
    /// Is that number among them?
    pub(super) fn has(self, number: u32) -> bool {
        self.bits & (1 << number) != 0
    }

    /// Are all that there are?
    pub(super) fn is_whole(self, kind: Kind) -> bool {
        (kind.first..=kind.last).all(|number| self.has(number))
    }
}

impl Kind {
    /// Read a field, or say what is wrong with it.
    pub(super) fn read(self, text: &str) -> Result<Field, String> {
        let mut bits = 0;
        for item in text.split(',') {
            for number in self.item(item)? {
                bits |= 1 << number;
            }
        }
        if self.last == 7 && bits & (1 << 7) != 0 {
            bits |= 1;
        }
        Ok(Field { bits, starts_with_star: text.starts_with('*') })
    }

    fn item(self, item: &str) -> Result<impl Iterator<Item = u32>, String> {
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let number = step.parse().ok().filter(|step| (1..=self.last as usize).contains(step));
                let wrong = || format!("`{step}` is no step of the {}: 1 to {}", self.name, self.last);
                (range, Some(number.ok_or_else(wrong)?))
            }
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.first, self.greatest()),
            (_, Some((from, to))) => (self.number(from)?, self.end(to)?),
            // `5/15` is every fifteenth from the fifth on.
            (one, None) if step.is_some() => (self.number(one)?, self.greatest()),
            (one, None) => (self.number(one)?, self.number(one)?),
        };
        if from > to {
            return Err(format!("`{range}` of the {} runs backwards", self.name));
        }
        Ok((from..=to).step_by(step.unwrap_or(1)))
    }

    /// Seven is Sunday once more: counted twice it would move every step.
    fn greatest(self) -> u32 {
        if self.last == 7 { 6 } else { self.last }
    }

    /// The end of a range, where Sunday is the last day: `sat-sun`.
    fn end(self, text: &str) -> Result<u32, String> {
        let number = self.number(text)?;
        Ok(if self.last == 7 && number == 0 { 7 } else { number })
    }

    fn number(self, text: &str) -> Result<u32, String> {
        let name = |name: &&str| text.eq_ignore_ascii_case(name);
        if let Some(at) = self.names.iter().position(name) {
            return Ok(self.first + u32::try_from(at).unwrap_or(0));
        }
        // `parse` alone would take a sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (self.first..=self.last).contains(number));
        let names = if self.names.is_empty() { "" } else { ", or a name of three letters" };
        number.ok_or_else(|| format!("`{text}` is no {}: {} to {}{names}", self.name, self.first, self.last))
    }
}
