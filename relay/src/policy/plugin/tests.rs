use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::source::Client;
use picorelay_testing::{Draft, key};

/// A program in a folder of its own.
struct Program(tempfile::TempDir);

impl Program {
    fn new(text: &str) -> Self {
        let program = Self(tempfile::tempdir().unwrap());
        program.write(text);
        program
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("plugin")
    }

    fn write(&self, text: &str) {
        // Never written in place: a file that is being written cannot be run.
        let beside = self.0.path().join("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(beside, self.path()).unwrap();
    }

    fn start(&self) -> (Plugin, PluginThread) {
        let plugin = vec![self.path().to_str().unwrap().to_owned()];
        let config = config::Policy { plugin, plugin_ms_max: 1_000, ..config::Policy::default() };
        Plugin::start(&config).unwrap().unwrap()
    }
}

/// Answers each line with what `case` makes of it; `$id` is the id.
fn shell(case: &str) -> String {
    format!(
        "#!/bin/sh\nwhile IFS= read -r line; do\n  id=$(printf '%s' \"$line\" | sed 's/.*\"event\":{{\"id\":\"\\([0-9a-f]*\\)\".*/\\1/')\n  \
         say() {{ echo \"{{\\\"id\\\":\\\"$id\\\",\\\"action\\\":\\\"$1\\\",\\\"msg\\\":\\\"$2\\\"}}\"; }}\n  \
         case \"$line\" in\n{case}\n  esac\ndone\n"
    )
}

fn note(content: &str) -> Verified {
    Draft { author: 1, kind: 1, created_at: 1000, content: content.into(), ..Draft::default() }.sign()
}

fn client() -> Source {
    Source::Client(Client { keys: [key(1)].into_iter().collect(), address: [203, 0, 113, 9].into() })
}

fn ask(plugin: &Plugin, content: &str) -> Answer {
    plugin.judge(vec![Some(note(content))], &client(), 77).remove(0)
}

fn refused(why: &'static str) -> Answer {
    Answer::Refuse(Refusal::with_prefix(NAME, why).unwrap())
}

const USUAL: &str = r#"
    *'"content":"spam"'*) say reject 'blocked: spam' ;;
    *'"content":"bare"'*) say reject 'no' ;;
    *'"content":"mute"'*) say reject '' ;;
    *'"content":"shadow"'*) say shadowReject '' ;;
    *'"content":"end"'*) exit 3 ;;
    *'"content":"silence"'*) ;;
    *'"content":"noise"'*) echo 'not json'; echo '{"id":"00"}'; say accept '' ;;
    *'"content":"endless"'*) yes | tr -d '\n' ;;
    '{"type":"new","event":{'*'"},"receivedAt":77,"sourceType":"IP4","sourceInfo":"203.0.113.9"}') say accept '' ;;
    *) say reject 'blocked: this is not the protocol' ;;"#;

#[test]
fn answers() {
    let program = Program::new(&shell(USUAL));
    let (plugin, thread) = program.start();
    for (content, answer) in [
        ("fine", Answer::Accept),
        ("spam", refused("blocked: spam")),
        ("bare", refused("blocked: no")),
        ("mute", refused("blocked: refused by the operator's rules")),
        ("shadow", Answer::Shadow),
        ("noise", Answer::Accept),
        ("\"}\n{\"", Answer::Accept),
    ] {
        assert_eq!(ask(&plugin, content), answer, "{content}");
    }
    let many: Vec<_> =
        (0..3_000).map(|n| (n % 7 != 0).then(|| note(if n % 3 == 0 { "spam" } else { "fine" }))).collect();
    let answers = plugin.judge(many, &client(), 77);
    for (n, answer) in answers.iter().enumerate() {
        let is_spam = n % 7 != 0 && n % 3 == 0;
        assert_eq!(*answer, if is_spam { refused("blocked: spam") } else { Answer::Accept }, "{n}");
    }
    drop(plugin);
    thread.join();
}

#[test]
fn one_that_fails_is_started_again_later() {
    for failure in ["end", "silence", "endless"] {
        let program = Program::new(&shell(USUAL));
        let (plugin, thread) = program.start();
        assert_eq!(ask(&plugin, "fine"), Answer::Accept, "{failure}");
        assert_eq!(ask(&plugin, failure), silent(), "{failure}");
        assert_eq!(ask(&plugin, "fine"), refused("error: the policy plugin is not running"), "{failure}");
        let began = Instant::now();
        while ask(&plugin, "fine") != Answer::Accept {
            assert!(began.elapsed() < Duration::from_secs(10), "{failure}: it is not started again");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(began.elapsed() > Duration::from_millis(500), "{failure}: it is started again at once");
        drop(plugin);
        thread.join();
    }
}

#[test]
fn one_that_does_not_read_holds_nobody_up() {
    let program = Program::new("#!/bin/sh\nexec sleep 1000\n");
    let (plugin, thread) = program.start();
    let large = "x".repeat(150_000);
    let began = Instant::now();
    for _ in 0..3 {
        assert!(matches!(ask(&plugin, &large), Answer::Refuse(_)));
    }
    drop(plugin);
    thread.join();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn one_that_is_not_there_refuses() {
    let config = config::Policy { plugin: vec!["/nowhere/plugin".into()], ..config::Policy::default() };
    let (plugin, thread) = Plugin::start(&config).unwrap().unwrap();
    assert_eq!(ask(&plugin, "fine"), refused("error: the policy plugin is not running"));
    drop(plugin);
    thread.join();
}

#[test]
fn a_changed_file_is_started_anew() {
    let program = Program::new(&shell("    *) say reject 'blocked: old' ;;"));
    let (plugin, thread) = program.start();
    assert_eq!(ask(&plugin, "x"), refused("blocked: old"));
    let old = std::fs::metadata(program.path()).unwrap().modified().unwrap();
    while std::fs::metadata(program.path()).unwrap().modified().unwrap() == old {
        program.write(&shell("    *) say reject 'blocked: new' ;;"));
    }
    assert_eq!(ask(&plugin, "x"), refused("blocked: new"));
    drop(plugin);
    thread.join();
}
