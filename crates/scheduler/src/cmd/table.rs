//! Tables of text.

/// Rows under a header, each column as wide as its widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([head[at].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("   ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// CPUs from millicores.
pub(super) fn cpu(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// Bytes in the largest binary unit of which there is at least one.
pub(super) fn bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    match UNITS.into_iter().find(|(_, size)| bytes.abs() >= *size) {
        None => bytes.to_string(),
        Some((unit, size)) if bytes % size == 0 => format!("{}{unit}", bytes / size),
        #[allow(clippy::cast_precision_loss)]
        Some((unit, size)) => format!("{:.1}{unit}", bytes as f64 / size as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME     N\na        1\nlonger\n");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!((cpu(2000), cpu(1500)), ("2".into(), "1500m".into()));
        assert_eq!(bytes(512), "512");
        assert_eq!(bytes(3 << 30), "3Gi");
        assert_eq!(bytes((3 << 30) + (1 << 29)), "3.5Gi");
    }
}
