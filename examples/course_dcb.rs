//! A rule over two things at once, without a stream that holds both: a course has places, a student
//! takes two courses at most. Many enrol at the same time, and neither rule is ever broken.
#![allow(clippy::print_stdout, reason = "an example")]

use factlog::{Event, Model, Query, Scope, Store, tag};
use serde::{Deserialize, Serialize};

#[derive(Clone, Event, Serialize, Deserialize)]
#[event(category = "Campus")]
enum Campus {
    Defined {
        #[tag]
        course: String,
        places: usize,
    },
    Enrolled {
        #[tag]
        course: String,
        #[tag]
        student: String,
    },
}

#[derive(Clone)]
struct Course {
    id: String,
    free: usize,
}

impl Model for Course {
    type Event = Campus;

    fn scope(&self) -> Scope {
        Query::tags([tag("course", &self.id)]).into()
    }

    fn apply(&mut self, event: Campus) {
        match event {
            Campus::Defined { places, .. } => self.free = places,
            Campus::Enrolled { .. } => self.free -= 1,
        }
    }
}

#[derive(Clone)]
struct Student {
    id: String,
    courses: usize,
}

impl Model for Student {
    type Event = Campus;

    fn scope(&self) -> Scope {
        Query::tags([tag("student", &self.id)]).into()
    }

    fn apply(&mut self, event: Campus) {
        self.courses += usize::from(matches!(event, Campus::Enrolled { .. }));
    }
}

fn enrol((course, student): &(Course, Student)) -> Result<[Campus; 1], &'static str> {
    if course.free == 0 {
        return Err("the course is full");
    }
    if student.courses >= 2 {
        return Err("two courses already");
    }
    Ok([Campus::Enrolled { course: course.id.clone(), student: student.id.clone() }])
}

fn course(id: &str) -> Course {
    Course { id: id.into(), free: 0 }
}

fn student(id: usize) -> Student {
    Student { id: id.to_string(), courses: 0 }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::in_memory()?;
    for id in ["logic", "sets", "groups"] {
        let defined = Campus::Defined { course: id.into(), places: 10 };
        store.decide(course(id), |_| Ok::<_, String>([defined.clone()]))?;
    }
    let answers: Vec<(usize, u32)> = std::thread::scope(|scope| {
        let enrol_all = |who: usize| -> (usize, u32) {
            let answers = ["logic", "sets", "groups"].map(|id| {
                // The rule runs inside the writer: nobody can come between.
                store.decide_inside((course(id), student(who)), enrol)
            });
            let attempts = answers.iter().flatten().map(|decided| decided.attempts).sum();
            (answers.iter().flatten().count(), attempts)
        };
        let threads: Vec<_> = (0..16).map(|who| scope.spawn(move || enrol_all(who))).collect();
        threads.into_iter().flat_map(std::thread::ScopedJoinHandle::join).collect()
    });
    let enrolled: usize = answers.iter().map(|answer| answer.0).sum();
    let attempts: u32 = answers.iter().map(|answer| answer.1).sum();
    println!("{enrolled} enrolments, {attempts} attempts");
    for id in ["logic", "sets", "groups"] {
        println!("{id}: {} places left", store.load(course(id))?.free);
    }
    assert!(answers.iter().all(|answer| answer.0 <= 2));
    Ok(())
}
