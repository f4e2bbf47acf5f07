//! Adds quantities: `cargo run -p kubernetes-quantity --example sum -- 250m 0.5 1Gi`.

use kubernetes_quantity::ParseError;
use kubernetes_quantity::Quantity;

fn main() -> Result<(), ParseError> {
    let amounts = std::env::args().skip(1).map(|text| Quantity::parse(&text)).collect::<Result<Vec<_>, _>>()?;
    let total: Quantity = amounts.into_iter().sum();
    println!("{} units, {} thousandths", total.value(), total.milli());
    Ok(())
}
