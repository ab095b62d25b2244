//! Writes SVG: elements, escaped text and coordinates, nothing of charts.

use std::fmt::Write;

/// The width of a letter of the fonts below, on average, through their size.
const LETTER: f64 = 0.56;
const FONTS: &str = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', Helvetica, Arial, sans-serif";

/// About how wide a text is, in pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * LETTER
}

/// `text`, shortened to about so many pixels.
pub(super) fn fitted(text: &str, size: f64, width: f64) -> String {
    let room = (width / (size * LETTER)).max(1.0) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// Where a text begins at its point.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Font {
    pub size: f64,
    pub color: &'static str,
    pub bold: bool,
    pub anchor: Anchor,
}

/// A drawing under way.
pub(super) struct Svg {
    out: String,
}

impl Svg {
    /// An empty drawing of so many pixels on `background`, with a title and a description for those
    /// who do not see it.
    pub fn new(width: f64, height: f64, background: &str, title: &str, description: &str) -> Svg {
        let (w, h) = (px(width), px(height));
        let out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
             viewBox=\"0 0 {w} {h}\" role=\"img\" font-family=\"{FONTS}\">\n\
             <title>{}</title>\n<desc>{}</desc>\n\
             <rect width=\"{w}\" height=\"{h}\" fill=\"{background}\"/>\n",
            escaped(title),
            escaped(description),
        );
        Svg { out }
    }

    /// An element without content. Values are escaped.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out += name;
        for (key, value) in attributes {
            // Writing to a string does not fail.
            let _ = write!(self.out, " {key}=\"{}\"", escaped(value));
        }
        self.out += "/>\n";
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), more: &[(&str, &str)]) {
        let ends = [px(from.0), px(from.1), px(to.0), px(to.1)];
        let keys = ["x1", "y1", "x2", "y2"];
        let mut attributes: Vec<(&str, &str)> = Vec::new();
        attributes.extend(keys.iter().zip(&ends).map(|(key, end)| (*key, end.as_str())));
        attributes.extend(more);
        self.element("line", &attributes);
    }

    /// A path.
    pub fn path(&mut self, path: &str, more: &[(&str, &str)]) {
        let mut attributes = vec![("d", path)];
        attributes.extend(more);
        self.element("path", &attributes);
    }

    /// A text at its base line.
    pub fn text(&mut self, at: (f64, f64), font: Font, text: &str) {
        let anchor = match font.anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if font.bold { " font-weight=\"600\"" } else { "" };
        let _ = writeln!(
            self.out,
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\"{anchor}{weight}>{}</text>",
            px(at.0),
            px(at.1),
            px(font.size),
            font.color,
            escaped(text)
        );
    }

    /// Begins a group that shows nothing outside of a rectangle.
    pub fn begin_clip(&mut self, x: f64, y: f64, width: f64, height: f64) {
        let _ = writeln!(
            self.out,
            "<clipPath id=\"plot\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n\
             <g clip-path=\"url(#plot)\">",
            px(x),
            px(y),
            px(width),
            px(height)
        );
    }

    /// Ends the group.
    pub fn end_clip(&mut self) {
        self.out += "</g>\n";
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        self.out += "</svg>\n";
        self.out
    }
}

/// A coordinate in hundredths of a pixel. What is no finite number never comes so far, and would be 0.
pub(super) fn px(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{:.2}", value.clamp(-1e6, 1e6));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text as it may stand in XML 1.0, in an attribute too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' | '\r' => out.push(' '),
            // Not a character of XML, however it is written.
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// What is wrong with an XML text of elements, attributes, text and the five entities.
#[cfg(test)]
pub(super) fn check_xml(text: &str) -> Result<(), String> {
    let entities = |part: &str| {
        part.split('&').skip(1).try_for_each(|rest| {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            let found = known.iter().any(|entity| rest.starts_with(entity));
            if found { Ok(()) } else { Err(format!("a bare & before {rest:?}")) }
        })
    };
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err("a control character".to_owned());
    }
    let (mut open, mut rest, mut roots) = (Vec::new(), text, 0);
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        entities(before)?;
        if before.contains('>') || (open.is_empty() && !before.trim().is_empty()) {
            return Err(format!("text where none may be: {before:?}"));
        }
        let end = tag.find('>').ok_or("a tag without an end")?;
        let inner = &tag[1..end];
        rest = &tag[end + 1..];
        if let Some(name) = inner.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("{name} ends what it did not begin"));
            }
            continue;
        }
        let empty = inner.ends_with('/');
        let inner = inner.trim_end_matches('/');
        let (name, mut attributes) = inner.split_once(' ').unwrap_or((inner, ""));
        let mut seen = Vec::new();
        while !attributes.is_empty() {
            let (key, value) = attributes.split_once("=\"").ok_or("an attribute without value")?;
            let (value, more) = value.split_once('"').ok_or("a value without end")?;
            if seen.contains(&key) || key.contains([' ', '"', '<']) || value.contains('<') {
                return Err(format!("a bad attribute: {key}"));
            }
            entities(value)?;
            seen.push(key);
            attributes = more.trim_start();
        }
        roots += usize::from(open.is_empty());
        if !empty {
            open.push(name);
        }
    }
    if open.is_empty() && roots == 1 && rest.trim().is_empty() {
        Ok(())
    } else {
        Err(format!("{roots} roots, open at the end: {open:?}, behind it: {rest:?}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FONT: Font = Font { size: 12.0, color: "#000", bold: true, anchor: Anchor::End };

    #[test]
    fn the_checker_sees_what_is_wrong() {
        for good in ["<a/>", "<a b=\"c\"><d/>x &amp; y</a>\n"] {
            assert_eq!(check_xml(good), Ok(()), "{good}");
        }
        let bad = [
            "<a>",
            "<a></b>",
            "<a b=\"1\" b=\"2\"/>",
            "<a>&</a>",
            "<a b=c/>",
            "<a/><b/>",
            "x<a/>",
            "<a>\u{1}</a>",
        ];
        for bad in bad {
            assert!(check_xml(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([1.0, 1.25, -0.001, 1.0 / 3.0].map(px), ["1", "1.25", "0", "0.33"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(px), ["0", "0"]);
        assert_eq!(fitted("a long label", 10.0, 29.0), "a lo…");
        assert_eq!(fitted("short", 10.0, 100.0), "short");
    }

    proptest! {
        #[test]
        fn any_text_is_well_formed(text: String, title: String) {
            let mut svg = Svg::new(10.0, 10.0, "#fff", &title, &text);
            svg.text((1.0, 2.0), FONT, &text);
            svg.element("g", &[("class", &text)]);
            svg.begin_clip(0.0, 0.0, 1.0, 1.0);
            svg.line((0.0, 0.0), (1.0, 1.0), &[]);
            svg.end_clip();
            prop_assert_eq!(check_xml(&svg.finish()), Ok(()));
        }
    }
}
