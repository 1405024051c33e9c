//! Layer 6.2: subjects in a build without the feature `forget`: nothing is encrypted or decrypted.
//!
//! Knows: that what should be encrypted is not written in clear, and that what is encrypted is
//! told apart from what is damaged. Does not know: keys.

use uuid::Uuid;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::format::FileName;
use crate::log::KeyedFile;
use crate::sync::Arc;
use crate::types::{DataState, Error, ErrorKind, EventRef, Result, Settings};

/// The subjects of a store.
#[derive(Debug)]
pub(crate) struct Subjects {
    encrypts: bool,
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Sealer {}

impl Sealer {
    pub(crate) fn pending(&self) -> Option<Uuid> {
        match *self {}
    }

    pub(crate) fn seal(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>> {
        match *self {}
    }
}

impl Subjects {
    /// Of a store opened for writing.
    pub(crate) fn for_writing(
        disk: &Arc<dyn Disk>,
        _: Uuid,
        _: &Settings,
        (encrypts, _): (bool, bool),
    ) -> Result<Self> {
        let ring = KeyedFile::stamp(&**disk, FileName::Keyring)?;
        Ok(Self { encrypts: encrypts || ring.is_some() })
    }

    /// Of a store opened for reading.
    pub(crate) fn for_reading(_: &Arc<dyn Disk>, _: Uuid, _: &Settings) -> Self {
        Self { encrypts: false }
    }

    pub(crate) fn encrypts(&self) -> bool {
        self.encrypts
    }

    /// # Errors
    /// `Unsupported` when this store encrypts what this event would say in clear.
    pub(crate) fn sealer(&self, subject: &str, _: &dyn Clock) -> Result<Option<Sealer>> {
        if !self.encrypts || subject.is_empty() {
            return Ok(None);
        }
        let text = "this store encrypts what it keeps of subjects, \
                    and this build is without the feature `forget`";
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    pub(crate) fn settle(&self, _: &[Uuid]) -> Result<()> {
        Ok(())
    }

    /// The event, without its data if that is encrypted.
    pub(crate) fn open<'a>(&self, event: EventRef<'a>, _: &'a mut Vec<u8>) -> Result<EventRef<'a>> {
        match event.sealed() {
            Some(_) => Ok(event.without_data(DataState::NotHere)),
            None => Ok(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::disk::{Access, MemDisk};
    use crate::format::{Record, decode_event, encode_event_with, name_of, patch_record};
    use crate::types::{Limits, NewEvent, Position, StreamName};

    fn encrypted() -> Vec<u8> {
        let mut out = Vec::new();
        let name = StreamName::new("Person-ada").unwrap();
        let event = NewEvent::json_text("Moved", "{}").tag("t").subject("ada");
        let seal = |_: &[u8], data: &[u8]| Ok([&[7; 56], data].concat());
        encode_event_with(&mut out, &name, &event, &Limits::default(), Some(&seal)).unwrap();
        patch_record(&mut out, 1, (10, 2, 30));
        out
    }

    #[test]
    fn an_encrypted_event_is_told_as_such_and_never_as_damage_or_data() {
        let bytes = encrypted();
        let event = decode_event(&Record::decode(&bytes, 1).unwrap()).unwrap();
        let subjects = Subjects { encrypts: true };
        let mut scratch = Vec::new();
        let read = subjects.open(event, &mut scratch).unwrap().to_owned();
        assert_eq!((read.position(), read.event_type()), (Position::new(10), "Moved"));
        assert_eq!((read.tags().collect::<Vec<_>>(), read.subject()), (vec!["t"], Some("ada")));
        assert_eq!((read.data(), read.text()), (&[][..], None));
        assert!(!read.is_forgotten());
        let error = read.readable().unwrap_err();
        assert_eq!(
            (error.kind(), error.position()),
            (ErrorKind::Unsupported, Some(read.position()))
        );
        assert!(error.message().contains("the feature `forget`"), "{error}");
    }

    #[test]
    fn nothing_of_a_subject_is_written_in_clear_where_it_was_encrypted() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        disk.create_root().unwrap();
        let of = |encrypts| {
            let settings = Settings::default();
            Subjects::for_writing(&disk, Uuid::nil(), &settings, (encrypts, false)).unwrap()
        };
        assert!(of(false).sealer("ada", &SystemClock).unwrap().is_none());
        assert!(of(true).sealer("", &SystemClock).unwrap().is_none());
        let error = of(true).sealer("ada", &SystemClock).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        disk.open(&name_of(FileName::Keyring), Access::Create).unwrap();
        assert!(of(false).sealer("ada", &SystemClock).is_err(), "there is a keyring");
    }
}
