//! PostgreSQL on a local socket, with the schema that most guides to event sourcing give.
//!
//! Knows: a private server in a temporary directory, asked to run as another user where this one is
//! the superuser. Does not know: anything of a server that runs already. Skipped loudly where
//! there is none to start.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use postgres::types::ToSql;
use postgres::{Client, NoTls, Statement};

use crate::peer::{Part, Peer};
use crate::workload::{EVENT_TYPE, METADATA};

const SCHEMA: &str = "
    CREATE TABLE events (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        stream_id VARCHAR(255) NOT NULL,
        stream_type VARCHAR(255) NOT NULL,
        event_type VARCHAR(255) NOT NULL,
        event_data JSONB NOT NULL,
        metadata JSONB DEFAULT '{}',
        version BIGINT NOT NULL,
        global_position BIGSERIAL,
        created_at TIMESTAMPTZ DEFAULT NOW(),
        CONSTRAINT unique_stream_version UNIQUE (stream_id, version)
    );
    CREATE INDEX idx_events_stream_id ON events(stream_id, version);
    CREATE INDEX idx_events_global_position ON events(global_position);
    CREATE INDEX idx_events_event_type ON events(event_type);
    CREATE INDEX idx_events_created_at ON events(created_at)";
const INSERT: &str = "
    INSERT INTO events (id, stream_id, stream_type, event_type, event_data, metadata, version)
    SELECT id, $2, 'Order', $3, data::jsonb, $4::text::jsonb, $5 + number
    FROM unnest($1::uuid[], $6::text[]) WITH ORDINALITY AS given(id, data, number)";

const HEAD: &str = "SELECT COALESCE(MAX(version), 0) FROM events WHERE stream_id = $1";
const STREAM: &str = "
    SELECT id, event_type, event_data::text, metadata::text, version FROM events
    WHERE stream_id = $1 ORDER BY version";
const ONE: &str = "SELECT event_data::text FROM events WHERE stream_id = $1 AND version = $2";
const PAGE: &str = "
    SELECT id, stream_id, event_type, event_data::text, metadata::text, version, global_position
    FROM events WHERE global_position > $1 ORDER BY global_position LIMIT 10000";

/// A connection with its statements prepared once.
struct Ready {
    client: Client,
    head: Statement,
    insert: Statement,
    stream: Statement,
    one: Statement,
    page: Statement,
}

impl Ready {
    fn over(mut client: Client) -> Self {
        let [head, insert, stream, one, page] =
            [HEAD, INSERT, STREAM, ONE, PAGE].map(|text| client.prepare(text).unwrap());
        Self { client, head, insert, stream, one, page }
    }
}

pub struct Postgres {
    settings: String,
    clients: Mutex<Vec<Ready>>,
    server: Child,
}

/// A server refuses to run as the superuser of the system: then another user runs it.
fn command(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", program]);
    command
}

impl Postgres {
    /// `Err` with the reason where no server can be had.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let data: PathBuf = folder.join("postgres");
        std::fs::create_dir_all(&data).unwrap();
        let _ = Command::new("chown").args(["-R", "postgres"]).arg(&data).status();
        for above in data.ancestors().skip(1).take(2) {
            // The other user must get through to it.
            let _ = Command::new("chmod").arg("o+x").arg(above).status();
        }
        let made = command("initdb")
            .args(["-A", "trust", "-U", "bench", "--no-sync", "-D"])
            .arg(data.join("data"))
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let server = command("postgres")
            .arg("-D")
            .arg(data.join("data"))
            .arg("-k")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "shared_buffers=1GB"])
            .args(["-c", "max_connections=100", "-c", "max_wal_size=8GB"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("postgres: {error}"))?;
        let settings = format!("host={} user=bench dbname=postgres", data.display());
        let peer = Self { settings, clients: Mutex::default(), server };
        for _ in 0..200 {
            if let Ok(mut client) = Client::connect(&peer.settings, NoTls) {
                client.batch_execute(SCHEMA).unwrap();
                peer.clients.lock().push(Ready::over(client));
                return Ok(peer);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the server does not answer".into())
    }

    fn with<R>(&self, act: impl FnOnce(&mut Ready) -> R) -> R {
        let idle = self.clients.lock().pop();
        let connect = || Ready::over(Client::connect(&self.settings, NoTls).unwrap());
        let mut client = idle.unwrap_or_else(connect);
        let answer = act(&mut client);
        self.clients.lock().push(client);
        answer
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.clients.lock().clear();
        // The signal that ends it quickly and cleanly, to this one process.
        let _ = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

impl Peer for Postgres {
    fn append(&self, part: Part<'_>) {
        let ids: Vec<uuid::Uuid> = part.facts.iter().map(|fact| fact.id).collect();
        let text = |fact: &crate::workload::Fact| String::from_utf8(fact.data.clone()).unwrap();
        let data: Vec<String> = part.facts.iter().map(text).collect();
        let metadata = str::from_utf8(METADATA).unwrap();
        let version = i64::try_from(part.version).unwrap();
        self.with(|ready| {
            let mut transaction = ready.client.transaction().unwrap();
            let actual: i64 = transaction.query_one(&ready.head, &[&part.stream]).unwrap().get(0);
            assert_eq!(actual, version, "the expected version");
            let row: [&(dyn ToSql + Sync); 6] =
                [&ids, &part.stream, &EVENT_TYPE, &metadata, &version, &data];
            transaction.execute(&ready.insert, &row).unwrap();
            transaction.commit().unwrap();
        });
    }

    fn scan(&self) -> (u64, u64) {
        let (mut bytes, mut events, mut last) = (0, 0, 0_i64);
        loop {
            let rows = self.with(|ready| ready.client.query(&ready.page, &[&last]).unwrap());
            for row in &rows {
                bytes += row.get::<_, &str>(3).len() as u64;
                events += 1;
                last = row.get(6);
            }
            if rows.is_empty() {
                return (bytes, events);
            }
        }
    }

    fn read_stream(&self, stream: &str) -> usize {
        self.with(|ready| ready.client.query(&ready.stream, &[&stream]).unwrap().len())
    }

    fn read_one(&self, stream: &str, version: u64) -> bool {
        let version = i64::try_from(version).unwrap();
        self.with(|ready| {
            let row = ready.client.query_one(&ready.one, &[&stream, &version]).unwrap();
            std::hint::black_box(row.get::<_, &str>(0).len());
        });
        true
    }
}
