//! A pipeline with a source and a sink of one's own: the source counts orders up, a transform of the crate keeps the large ones,
//! the sink adds their prices.
//!
//! `cargo run --example own_components`

use serde_json::{Value, json};
use std::error::Error;
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use tidegate::{Components, Events, Feed, Field, Pipeline, Sink, Source};

/// Orders with the prices 1, 2, 3, …
struct Orders {
    count: u64,
}

impl Source for Orders {
    fn run(self: Box<Self>, feed: &Feed) -> Result<(), String> {
        for price in 1..=self.count {
            let line = json!({"level": "INFO", "price": price}).to_string();
            if feed.is_stopping() || !feed.send(line) {
                break;
            }
        }
        Ok(())
    }
}

/// Adds prices; tells the sum when no more come.
struct Sum {
    price: Field,
    sum: u64,
    tell: Sender<u64>,
}

impl Sink for Sum {
    fn take(&mut self, events: Events<'_>) -> Result<(), String> {
        for event in events.iter() {
            self.sum += event.get(&self.price).and_then(|price| price.as_u64()).ok_or("an order has no price")?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        self.tell.send(self.sum).map_err(|_| "nobody wants to know the sum".into())
    }
}

/// Runs the pipeline to its end and writes what came of it.
pub fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (tell, sum) = channel();
    let components = Components::built_in()
        .source("orders", |settings: Value| {
            let count = settings["count"].as_u64().ok_or("`count` must say how many orders there are")?;
            Ok(Orders { count })
        })
        .sink("sum", move |_| Ok(Sum { price: Field::new("price")?, sum: 0, tell: tell.clone() }));
    let data_dir = std::env::temp_dir().join(format!("own_components-{}", std::process::id()));
    let yaml = format!(
        "data_dir: {}
sources: {{shop: {{type: orders, count: 1000, decode: json}}}}
transforms: {{large: {{type: filter, inputs: [shop], when: 'price > 900'}}}}
sinks: {{total: {{type: sum, inputs: [large]}}}}
",
        data_dir.display()
    );
    let outcome = Pipeline::from_yaml(&yaml, &components)?.start()?.wait();
    std::fs::remove_dir_all(&data_dir)?;
    for totals in &outcome.totals {
        writeln!(out, "{}: {} in, {} out, {} dropped", totals.component, totals.events_in, totals.out, totals.dropped)?;
    }
    writeln!(out, "sum of the large orders: {}", sum.try_recv()?)?;
    if outcome.is_good() { Ok(()) } else { Err(format!("{:?}", outcome.failed).into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout().lock())
}
