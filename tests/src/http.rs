//! As much of HTTP (RFC 9112) as it takes to tell another program what to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// What separates the parts of a form: nothing that is sent contains it.
const BOUNDARY: &str = "--------trackerless-tests-form";

/// Asks for `path` over `stream` and gives the status and what came with it. With `fields` it is a POST of
/// a form: each has a name, the name of a file (none if it is no file), and a value.
pub fn ask(
    stream: TcpStream,
    path: &str,
    fields: &[(&str, Option<&str>, &[u8])],
) -> io::Result<(u16, Vec<u8>)> {
    let method = if fields.is_empty() { "GET" } else { "POST" };
    let body = if fields.is_empty() { Vec::new() } else { form(fields) };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n",
        stream.peer_addr()?,
        body.len(),
    );
    (&stream).write_all(&[head.as_bytes(), &body].concat())?;
    answer(BufReader::new(stream))
}

fn form(fields: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, value) in fields {
        let file = file.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}");
        body.extend([head.as_bytes(), b"\r\n\r\n", value, b"\r\n"].concat());
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn answer(mut from: impl BufRead) -> io::Result<(u16, Vec<u8>)> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))?;
    // Without a length the body ends with the connection.
    let mut len = u64::MAX;
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            len = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = Vec::new();
    from.take(len).read_to_end(&mut body)?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_length() {
        let text = b"HTTP/1.1 404 Not Found\r\nX: y\r\ncontent-length: 3\r\n\r\nno.more";
        assert_eq!(answer(&text[..]).unwrap(), (404, b"no.".to_vec()));
        assert_eq!(answer(&b"HTTP/1.1 200 OK\r\n\r\nall"[..]).unwrap(), (200, b"all".to_vec()));
        assert!(answer(&b"nonsense"[..]).is_err());
    }

    #[test]
    fn a_form_has_its_fields_and_files() {
        let body = form(&[("a", None, b"1"), ("b", Some("f"), b"\r\n2")]);
        let body = String::from_utf8(body).unwrap().replace(BOUNDARY, "B");
        let a = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        let b =
            "--B\r\nContent-Disposition: form-data; name=\"b\"; filename=\"f\"\r\n\r\n\r\n2\r\n";
        assert_eq!(body, format!("{a}{b}--B--\r\n"));
    }
}
