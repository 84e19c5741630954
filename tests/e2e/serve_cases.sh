#!/bin/sh
# What people sent to servers like this one, tests/cases/serve*, to a tiny judge and a tiny reward model.
. tests/e2e/lib.sh
command -v python3 >/dev/null || { echo "  python3 is not installed"; exit 77; }

# Keys that no header can hold: one sentence, and nothing listens.
cases=tests/cases/serve_key_file_of_blanks
tiny_model "$tmp/judge"
printf 'a\000b\n' >"$tmp/nul.txt"
printf 'key \n' >"$tmp/blank-behind.txt"
for key in "$cases/blank.txt" "$cases/two.txt" "$tmp/nul.txt" "$tmp/blank-behind.txt"; do
    timeout 20 "$GRAM" serve "$tmp/judge" --host 0.0.0.0 --port 0 --key-file "$key" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    [ $rc -eq 1 ] || [ $rc -eq 2 ] || die "$key: the server ended with $rc"
    one_sentence
    grep -q key "$tmp/err" || die "$key: no word of the key"
done
GRAM_API_KEY=" " expect 2 timeout 20 "$GRAM" serve "$tmp/judge" --host 0.0.0.0 --port 0; says err "key"; one_sentence

python3 tests/e2e/serve_cases.py "$GRAM" "$tmp/judge" tests/cases/server_rendered_text_dated/model || die "a case"
