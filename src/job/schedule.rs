//! When a job is due: five fields of cron, read in a time zone. Pure: it knows no clock.
//!
//! A time that the clocks skip is due at the first moment after it; one that they show twice is due once, at the
//! first. A schedule for every hour means an interval and not a time of day: it follows the time that passes, and
//! knows no such days. It must never name the same moment twice.

mod field;

#[cfg(test)]
mod tests;

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use self::field::{DAYS, Field, HOURS, MINUTES, MONTHS, WEEKDAYS};

/// 29 February on one weekday comes after 40 years at the latest.
const DAYS_AHEAD_MAX: usize = 366 * 40;

/// Words for what is often meant.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// When a job is due.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    text: String,
    zone: TimeZone,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// What is wrong, in one sentence.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) remedy: String,
}

/// The time zone of that IANA name.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone, Unreadable> {
    TimeZone::get(name).map_err(|_| Unreadable {
        message: format!("there is no time zone `{name}` on this machine"),
        remedy: "write it like \"Europe/Madrid\"; if it is right, install the package `tzdata`".to_owned(),
    })
}

impl Schedule {
    /// Read five fields, or one of the words that begin with `@`.
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Self, Unreadable> {
        let wrong = |message: String| Unreadable {
            message,
            remedy: "write minute, hour, day, month, weekday, such as \"30 3 * * mon-fri\"".to_owned(),
        };
        let text = text.trim();
        let word = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        if text.eq_ignore_ascii_case("@reboot") {
            return Err(Unreadable {
                message: "`@reboot` is no time".to_owned(),
                remedy: "a program that runs as long as the gateway has `always = true`".to_owned(),
            });
        }
        let fields: Vec<&str> = word.map_or(text, |(_, fields)| fields).split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(wrong(match fields.len() {
                0 => "this schedule is empty".to_owned(),
                1 if text.starts_with('@') => format!("`{text}` is not known"),
                count => format!("a schedule has five fields, and these are {count}"),
            }));
        };
        let schedule = Self {
            text: text.to_owned(),
            zone,
            minutes: MINUTES.read(minutes).map_err(wrong)?,
            hours: HOURS.read(hours).map_err(wrong)?,
            days: DAYS.read(days).map_err(wrong)?,
            months: MONTHS.read(months).map_err(wrong)?,
            weekdays: WEEKDAYS.read(weekdays).map_err(wrong)?,
        };
        let mut ahead = jiff::civil::date(2000, 1, 1).series(1.day()).take(DAYS_AHEAD_MAX);
        if ahead.any(|date| schedule.is_on(date)) {
            Ok(schedule)
        } else {
            Err(wrong("there is no such date in any year".to_owned()))
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The first moment after this one at which it is due.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let today = after.to_zoned(self.zone.clone()).date();
        let days = today.yesterday().unwrap_or(today).series(1.day()).take(DAYS_AHEAD_MAX);
        let mut found: Option<Timestamp> = None;
        for date in days {
            let here = self.moments(date).filter(|moment| *moment > after).min();
            // Clocks that are set back over midnight show a part of one day after the beginning of the next.
            if let Some(found) = found {
                return Some(here.map_or(found, |here| here.min(found)));
            }
            found = here;
        }
        found
    }

    /// Does it name that day?
    fn is_on(&self, date: Date) -> bool {
        let day = self.days.has(date.day().unsigned_abs().into());
        let weekday = self.weekdays.has(sunday_zero(date.weekday()));
        // As cron has it since 1979: of two restrictions one is enough.
        let either = !self.days.starts_with_star && !self.weekdays.starts_with_star;
        let named = if either { day || weekday } else { day && weekday };
        named && self.months.has(date.month().unsigned_abs().into())
    }

    /// Does it go by the time that passes, and not by what the clocks show: every hour, at least?
    pub(super) fn is_interval(&self) -> bool {
        self.hours.is_whole(HOURS)
    }

    /// Every moment of that day, in no order; some more than once.
    fn moments(&self, date: Date) -> impl Iterator<Item = Timestamp> {
        let hours = if self.is_on(date) { 0..24 } else { 0..0 };
        let times = hours.filter(|hour| self.hours.has(*hour)).flat_map(|hour| {
            (0..60).filter(|minute| self.minutes.has(*minute)).map(move |minute| (hour, minute))
        });
        times.flat_map(move |(hour, minute)| {
            let (hour, minute) = (i8::try_from(hour).unwrap_or(0), i8::try_from(minute).unwrap_or(0));
            self.moments_at(date.at(hour, minute, 0, 0)).into_iter().flatten()
        })
    }

    /// When the clocks show that: once as a rule.
    fn moments_at(&self, time: DateTime) -> [Option<Timestamp>; 2] {
        let interval = self.is_interval();
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(time).ok(), None],
            AmbiguousOffset::Gap { .. } if interval => [None, None],
            AmbiguousOffset::Gap { before, .. } => {
                // As if the clocks had not been set forward: not before the moment at which they were.
                let late = before.to_timestamp(time).and_then(|late| late.checked_add(1.nanosecond()));
                let set = late.ok().and_then(|late| self.zone.preceding(late).next());
                [set.map(|set| set.timestamp()), None]
            }
            AmbiguousOffset::Fold { before, after } => {
                let again = interval.then(|| after.to_timestamp(time).ok()).flatten();
                [before.to_timestamp(time).ok(), again]
            }
        }
    }
}

fn sunday_zero(weekday: Weekday) -> u32 {
    weekday.to_sunday_zero_offset().unsigned_abs().into()
}
