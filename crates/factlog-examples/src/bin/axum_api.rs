//! A small service with axum: commands decide, queries read what a projection made. It calls itself
//! and ends, so that it can be run as a test.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use factlog::{Control, DecideError, Event, Metadata, Model, Position, Scope, Store};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Event, Serialize, Deserialize)]
enum Bank {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Default)]
struct Account {
    id: String,
    balance: u64,
}

impl Model for Account {
    type Event = Bank;

    fn scope(&self) -> Scope {
        Scope::stream("Account", &self.id)
    }

    fn apply(&mut self, event: Bank) {
        match event {
            Bank::Deposited { cents } => self.balance += cents,
            Bank::Withdrawn { cents } => self.balance -= cents,
        }
    }
}

type Totals = Arc<Mutex<BTreeMap<String, u64>>>;

#[derive(Clone)]
struct App {
    store: Store,
    turnover: Totals,
    projection: Control,
}

#[derive(Deserialize)]
struct Amount {
    cents: u64,
    /// Sent again with a request that is sent again: it is decided once.
    command: String,
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

async fn deposit(app: State<App>, id: Path<String>, amount: Json<Amount>) -> Answer<u64> {
    let cents = amount.cents;
    decide(app, id, amount, move |_| Ok([Bank::Deposited { cents }])).await
}

async fn withdraw(app: State<App>, id: Path<String>, amount: Json<Amount>) -> Answer<u64> {
    let cents = amount.cents;
    decide(app, id, amount, move |account| match account.balance < cents {
        true => Err(format!("{} cents are missing", cents - account.balance)),
        false => Ok([Bank::Withdrawn { cents }]),
    })
    .await
}

/// A decision waits for the disk, which is not for a thread of the runtime.
async fn decide(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(amount): Json<Amount>,
    rule: impl FnMut(&Account) -> Result<[Bank; 1], String> + Send + 'static,
) -> Answer<u64> {
    let decided = tokio::task::spawn_blocking(move || {
        let request = Metadata::new().correlation(&amount.command);
        let decider = app.store.decider().metadata(request).once(&amount.command);
        let decided = decider.decide(Account { id, balance: 0 }, rule)?;
        Ok(decided.appended.map_or(0, |appended| appended.last.get()))
    });
    match decided.await {
        Ok(Ok(position)) => Ok(Json(position)),
        Ok(Err(DecideError::Refused(reason))) => Err((StatusCode::CONFLICT, reason)),
        Ok(Err(DecideError::Store(error))) => {
            Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn turnover(State(app): State<App>) -> Json<BTreeMap<String, u64>> {
    Json(app.turnover.lock().map(|totals| totals.clone()).unwrap_or_default())
}

/// Ready when the projection has caught up.
async fn health(State(app): State<App>) -> (StatusCode, String) {
    let status = app.projection.status();
    match status.lag_events {
        0 => (StatusCode::OK, format!("{:?}", status.state)),
        _ => (StatusCode::SERVICE_UNAVAILABLE, format!("{status:?}")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let totals = Totals::default();
    // The totals are in memory, and so is how far they are: both begin anew with the process.
    let mut projection = store.projection::<Bank>("turnover").after(Position::START).start()?;
    let control = projection.control();
    let app = App { store, turnover: totals.clone(), projection: control.clone() };

    // A projection runs for ever: it has a thread of its own.
    let running = std::thread::spawn(move || {
        projection.run(|events| {
            let mut totals = totals.lock().map_err(|error| error.to_string())?;
            for event in events {
                let (Bank::Deposited { cents } | Bank::Withdrawn { cents }) = event.event;
                *totals.entry(event.stream().to_owned()).or_default() += cents;
            }
            Ok::<(), String>(())
        })
    });
    let routes = Router::new()
        .route("/accounts/{id}/deposit", post(deposit))
        .route("/accounts/{id}/withdraw", post(withdraw))
        .route("/turnover", get(turnover))
        .route("/health", get(health))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    let call = |method, path, body| request(address, method, path, body);
    println!("{}", call("POST", "/accounts/ada/deposit", r#"{"cents":500,"command":"c1"}"#).await?);
    println!("{}", call("POST", "/accounts/ada/deposit", r#"{"cents":500,"command":"c1"}"#).await?);
    let refused = call("POST", "/accounts/ada/withdraw", r#"{"cents":900,"command":"c2"}"#).await?;
    println!("{refused}");
    if !refused.contains("409") || !refused.contains("400 cents are missing") {
        return Err("one deposit was made twice, or the rule was not asked".into());
    }
    while !call("GET", "/health", "").await?.contains("200 OK") {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    println!("{}", call("GET", "/turnover", "").await?);
    control.stop();
    server.abort();
    running.join().map_err(|_| "the projection panicked")??;
    Ok(())
}

/// The smallest client there is: status and body.
async fn request(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String, Box<dyn Error>> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(format!("{method} {path}: {status}: {body}"))
}
