//! Layer 1.0: file name to meaning and back, for every file the store ever makes.
//!
//! Knows: names. Does not know: what is in the files. Names are made from numbers only, so no
//! string of a user ever reaches a path; whatever is not named here is foreign and left alone.

/// What a file in the store's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileName {
    /// Held by the one writer.
    Lock,
    /// One of the two generations of the head.
    Head(u8),
    /// How far the log is durable, for followers and for recovery.
    Live,
    /// Saved checkpoints.
    Checkpoints,
    /// Saved snapshots.
    Snapshots,
    /// The keys of subjects.
    Keyring,
    /// Every stream's head at the end of a sealed segment; disposable.
    Heads,
    /// What is still known of trimmed segments: a part of the log.
    Base(u64),
    /// A segment of the log.
    Segment(u64),
    /// The disposable index of a segment.
    Sidecar(u64),
    /// The disposable index of a part of the newest segment: segment number, where the part begins.
    Part(u64, u64),
    /// Torn bytes taken out of a segment: segment number, offset, writer epoch.
    SetAside(u64, u64, u32),
    /// A file of the store as it was before a repair made it anew: which, writer epoch.
    Kept(KeptFile, u32),
    /// A file being prepared: whatever it was to become, it is not that yet. Each purpose has its
    /// own, so that threads preparing different files never meet.
    Temporary(Purpose),
}

/// The files of which a repair keeps a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeptFile {
    Head(u8),
    Checkpoints,
    Snapshots,
}

impl KeptFile {
    pub(crate) const ALL: [Self; 4] =
        [Self::Head(0), Self::Head(1), Self::Checkpoints, Self::Snapshots];

    /// The file it is a copy of.
    pub(crate) fn original(self) -> FileName {
        match self {
            Self::Head(generation) => FileName::Head(generation),
            Self::Checkpoints => FileName::Checkpoints,
            Self::Snapshots => FileName::Snapshots,
        }
    }
}

/// What a temporary file is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Segment,
    Head,
    Sidecar,
    Checkpoints,
    Snapshots,
    Recovery,
    Heads,
    Part,
    Rewrite,
    Keyring,
    Base,
}

const PURPOSES: [(&str, Purpose); 11] = [
    ("new-1.tmp", Purpose::Segment),
    ("new-2.tmp", Purpose::Head),
    ("new-3.tmp", Purpose::Sidecar),
    ("new-4.tmp", Purpose::Checkpoints),
    ("new-5.tmp", Purpose::Snapshots),
    ("new-6.tmp", Purpose::Recovery),
    ("new-7.tmp", Purpose::Heads),
    ("new-8.tmp", Purpose::Part),
    ("new-9.tmp", Purpose::Rewrite),
    ("new-10.tmp", Purpose::Keyring),
    ("new-11.tmp", Purpose::Base),
];

/// The name of the file.
pub(crate) fn name_of(file: FileName) -> String {
    match file {
        FileName::Lock => "lock".into(),
        FileName::Head(generation) => format!("head-{generation}"),
        FileName::Live => "live".into(),
        FileName::Checkpoints => "checkpoints".into(),
        FileName::Snapshots => "snapshots".into(),
        FileName::Keyring => "keyring".into(),
        FileName::Heads => "heads".into(),
        FileName::Base(number) => format!("{number:020}.base"),
        FileName::Segment(number) => format!("{number:020}.seg"),
        FileName::Sidecar(number) => format!("{number:020}.idx"),
        FileName::Part(number, start) => format!("{number:020}-{start:010}.idx"),
        FileName::SetAside(number, offset, epoch) => {
            format!("{number:020}-{offset:010}-{epoch:010}.torn")
        }
        FileName::Kept(file, epoch) => format!("{}-{epoch:010}.torn", name_of(file.original())),
        FileName::Temporary(purpose) => {
            let found = PURPOSES.iter().find(|(_, known)| *known == purpose);
            found.map_or_else(String::new, |(name, _)| (*name).into())
        }
    }
}

impl FileName {
    /// What a name means; `None` for a foreign file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = match name {
            "lock" => Self::Lock,
            "head-0" => Self::Head(0),
            "head-1" => Self::Head(1),
            "live" => Self::Live,
            "checkpoints" => Self::Checkpoints,
            "snapshots" => Self::Snapshots,
            "keyring" => Self::Keyring,
            "heads" => Self::Heads,
            _ => match name.rsplit_once('.')? {
                (number, "base") => Self::Base(number.parse().ok()?),
                (number, "seg") => Self::Segment(number.parse().ok()?),
                (place, "idx") => match place.split_once('-') {
                    Some((number, start)) => Self::Part(number.parse().ok()?, start.parse().ok()?),
                    None => Self::Sidecar(place.parse().ok()?),
                },
                (_, "tmp") => Self::Temporary(PURPOSES.iter().find(|(known, _)| *known == name)?.1),
                (place, "torn") => Self::parse_torn(place)?,
                _ => return None,
            },
        };
        // Only the exact spelling counts: "1.seg" or "+1.seg" would be somebody else's file.
        (name_of(found) == name).then_some(found)
    }

    fn parse_torn(place: &str) -> Option<Self> {
        let (before, epoch) = place.rsplit_once('-')?;
        let epoch = epoch.parse().ok()?;
        let kept = KeptFile::ALL.into_iter().find(|file| name_of(file.original()) == before);
        if let Some(file) = kept {
            return Some(Self::Kept(file, epoch));
        }
        let (number, offset) = before.split_once('-')?;
        Some(Self::SetAside(number.parse().ok()?, offset.parse().ok()?, epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_what_it_was_made_from() {
        for file in [
            FileName::Lock,
            FileName::Head(0),
            FileName::Head(1),
            FileName::Live,
            FileName::Checkpoints,
            FileName::Snapshots,
            FileName::Keyring,
            FileName::Heads,
            FileName::Base(3),
            FileName::Segment(u64::MAX),
            FileName::Sidecar(7),
            FileName::Part(7, 4240),
            FileName::SetAside(3, 4096, 9),
            FileName::Kept(KeptFile::Head(1), 9),
            FileName::Kept(KeptFile::Checkpoints, 0),
            FileName::Temporary(Purpose::Head),
            FileName::Temporary(Purpose::Heads),
        ] {
            assert_eq!(FileName::parse(&name_of(file)), Some(file));
        }
    }

    #[test]
    fn foreign_names_mean_nothing() {
        for name in [
            "1.seg",
            "+0000000000000000001.seg",
            "head-2",
            "notes.txt",
            "x.tmp",
            "",
            ".seg",
            "a-b-c.torn",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
