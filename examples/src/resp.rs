//! The framing of RESP, the protocol of Redis. Values stay raw bytes.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::mem;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The size limit of a value, in bytes.
const LARGEST: usize = 16 << 20;

/// Encodes a request: an array of length-prefixed strings.
pub fn request(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// Sends one encoded request and reads its reply. An error reply (`-ERR ..`) is a reply.
///
/// # Errors
///
/// If the connection breaks, or if data follows the reply: the connection is then out of step and
/// must be closed.
pub async fn exchange<S>(stream: &mut S, request: &[u8]) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    let mut buffer = Vec::new();
    match read_value(stream, &mut buffer).await? {
        Some(reply) if buffer.is_empty() => Ok(reply),
        Some(_) => Err(invalid("more came than the reply")),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads one whole value, a reply or a request. Bytes read beyond it stay in `buffer` for the next
/// call. Returns `None` if the stream ended before a value began.
///
/// # Errors
///
/// If the stream fails or ends within the value, or if the value is invalid or larger than 16 MiB.
pub async fn read_value<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>>
where
    S: AsyncRead + Unpin,
{
    let mut chunk = [0; 4096];
    loop {
        if let Some(length) = value_length(buffer)? {
            let rest = buffer.split_off(length);
            return Ok(Some(mem::replace(buffer, rest)));
        }
        if buffer.len() > LARGEST {
            return Err(invalid("a value of more than 16 MiB"));
        }
        match stream.read(&mut chunk).await? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

/// Formats a reply: strings, errors and numbers as text, other values unchanged.
pub fn text(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let body = match reply.first() {
        Some(b'+' | b'-' | b':') => &text[1..],
        Some(b'$') => text.split_once("\r\n").map_or("", |(_, body)| body),
        _ => &text,
    };
    body.strip_suffix("\r\n").unwrap_or(body).to_owned()
}

/// Returns the command of a request, its first string.
pub fn command(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    text.split("\r\n").nth(2).unwrap_or_default().to_uppercase()
}

/// Returns the length of the value at the start of `bytes`, or `None` if it is incomplete.
fn value_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    // An array adds its element count. Counting instead of recursing needs no stack.
    let mut values_left: usize = 1;
    while values_left > 0 {
        let Some(line) = line_at(bytes, at) else {
            return Ok(None);
        };
        values_left -= 1;
        at += line.len() + 2;
        match line.split_first() {
            Some((b'+' | b'-' | b':', _)) => {}
            // A null string (-1) has no content and no terminator.
            Some((b'$', digits)) => at += number(digits)?.map_or(0, |length| length + 2),
            Some((b'*', digits)) => values_left += number(digits)?.unwrap_or(0),
            _ => return Err(invalid("no RESP")),
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// Returns the line that starts at `start`, without its terminator.
fn line_at(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let bytes = bytes.get(start..)?;
    let length = bytes.windows(2).position(|end| end == b"\r\n")?;
    Some(&bytes[..length])
}

/// Parses a length or a count. Returns `None` for -1.
fn number(digits: &[u8]) -> io::Result<Option<usize>> {
    match std::str::from_utf8(digits).map(str::parse::<i64>) {
        Ok(Ok(-1)) => Ok(None),
        Ok(Ok(number @ 0..)) if number as usize <= LARGEST => Ok(Some(number as usize)),
        _ => Err(invalid("no length of a RESP value, or one of more than 16 MiB")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    const VALUES: [&[u8]; 9] = [
        b"+PONG\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$5\r\nhello\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*3\r\n*2\r\n:1\r\n$1\r\nx\r\n$-1\r\n+OK\r\n",
    ];

    #[test]
    fn a_value_is_complete_only_at_its_end() {
        for value in VALUES {
            for part in 0..value.len() {
                let length = value_length(&value[..part]).unwrap();
                assert_eq!(length, None, "{part} bytes of {:?}", text(value));
            }
            let followed = [value, b"+OK\r\n"].concat();
            assert_eq!(value_length(&followed).unwrap(), Some(value.len()));
        }
    }

    #[test]
    fn values_that_come_together_are_read_one_by_one() {
        let mut stream = &*VALUES.concat();
        let mut buffer = Vec::new();
        for value in VALUES {
            let read = block_on(read_value(&mut stream, &mut buffer)).unwrap();
            assert_eq!(read.as_deref(), Some(value));
        }
        let end = block_on(read_value(&mut stream, &mut buffer)).unwrap();
        assert_eq!(end, None);
    }

    #[test]
    fn a_stream_that_ends_within_a_value_is_an_error() {
        let mut stream = &b"$5\r\nhel"[..];
        let error = block_on(read_value(&mut stream, &mut Vec::new())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn invalid_resp_is_an_error() {
        for bytes in [
            "PING\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "*99999999999999999999\r\n",
            "$9223372036854775807\r\n",
        ] {
            let error = value_length(bytes.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn a_request_is_a_value_and_begins_with_its_command() {
        let request = request(&["set", "key", "two words"]);
        assert_eq!(request, b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n$9\r\ntwo words\r\n");
        assert_eq!(value_length(&request).unwrap(), Some(request.len()));
        assert_eq!(command(&request), "SET");
    }

    #[test]
    fn a_reply_reads_as_text() {
        let texts = VALUES.map(text);
        assert_eq!(texts[..4], ["PONG", "ERR no", "-12", "hello"]);
    }
}
