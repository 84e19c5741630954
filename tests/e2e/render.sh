#!/bin/sh
# gram render: where templates are found, what is said of those that cannot be run, and variables; a template that a run
# was given stays with the model that it trains.
. tests/e2e/lib.sh

cat >"$tmp/t.jinja" <<'END'
{{ bos_token }}{% for m in messages %}
    {%- if m.role not in ['user', 'assistant'] %}{{ raise_exception('no role ' + m.role) }}{% endif %}
<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}
END
cat >"$tmp/c.jsonl" <<'END'
{"messages": [{"role": "user", "content": " q <|im_end|> "}]}
{"messages": [{"role": "user", "content": "q"}], "add_generation_prompt": true, "arguments": {"enable_thinking": false}}
{"messages": [{"role": "system", "content": "s"}]}
{"messages": []}
not JSON
{"messages": [{"role": "user", "content": "q"}], "message": 1}
END
expect 0 "$GRAM" render --template "$tmp/t.jinja" --bos '<s>' "$tmp/c.jsonl"
cat >"$tmp/want" <<'END'
{"text":"<s><|im_start|>user\nq <|im_end|><|im_end|>\n"}
{"text":"<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think></think>"}
{"error":"no role system"}
END
head -3 "$tmp/out" | cmp - "$tmp/want" || die "another text"
[ "$(grep -c '^{"error":' "$tmp/out")" -eq 4 ] || die "wanted four errors"
says out 'is none of messages, tools, documents'

# Any file of rows, whose columns may have other names; one that is something else is called what it is.
printf '%s\n' '{"id": 1, "talk": [{"role": "user", "content": "é"}]}' '{"talk": [{"role": "user", "content": "r"}]}' \
    >"$tmp/talk.jsonl"
gzip -k "$tmp/talk.jsonl"
expect 0 "$GRAM" render --template "$tmp/t.jinja" --columns messages=talk "$tmp/talk.jsonl"
mv "$tmp/out" "$tmp/want"
says want 'user\né<|im_end|>'
expect 0 "$GRAM" render --template "$tmp/t.jinja" --columns messages=talk "$tmp/talk.jsonl.gz"
cmp "$tmp/want" "$tmp/out" || die "a packed file has other texts"
expect 0 "$GRAM" render --template "$tmp/t.jinja" "$tmp/talk.jsonl"
says out 'is none of messages, tools, documents'
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n' >"$tmp/lfs.jsonl"
expect 1 "$GRAM" render --template "$tmp/t.jinja" "$tmp/lfs.jsonl"
says err 'a Git LFS pointer'
if [ -n "${GRAM_DUCKDB-}" ]; then
    [ -x "$B/tests/file/write_table" ] || make -s --no-print-directory "$B/tests/file/write_table" || exit 1
    "$B/tests/file/write_table" "$tmp/talk.jsonl" "$tmp/talk.parquet" || die "no table"
    expect 0 "$GRAM" render --template "$tmp/t.jinja" --columns messages=talk "$tmp/talk.parquet"
    cmp "$tmp/want" "$tmp/out" || die "Parquet has other texts"
fi

one() { echo '{"messages": [{"role": "user", "content": "q"}]'"$1"'}' >"$tmp/one.jsonl"; }

one ', "add_generation_prompt": true'
expect 0 "$GRAM" render --template "$tmp/t.jinja" --chat-arg enable_thinking=false --chat-arg 'bos_token="B"' \
    "$tmp/one.jsonl"
says out '<think></think>'
says out '"B<|im_start|>'
expect 2 "$GRAM" render --template "$tmp/t.jinja" --chat-arg enable_thinkng=false "$tmp/one.jsonl"
says err 'reads no variable "enable_thinkng"'
expect 2 "$GRAM" render --template "$tmp/t.jinja" --chat-arg 'messages=[]' "$tmp/one.jsonl"
says err '"messages" is set by each conversation'
expect 2 "$GRAM" render --template "$tmp/t.jinja" --chat-arg enable_thinking "$tmp/one.jsonl"
says err 'wanted NAME=JSON'
expect 2 "$GRAM" render --template "$tmp/t.jinja" --chat-arg x=word "$tmp/one.jsonl"
says err 'a text stands in quotes'
expect 2 "$GRAM" render "$tmp/one.jsonl"
says err 'or --template FILE'
echo "{{ strftime_now('%d %b %Y') }}" >"$tmp/d.jinja"
expect 0 env SOURCE_DATE_EPOCH=86400 "$GRAM" render --template "$tmp/d.jinja" "$tmp/one.jsonl"
says out '{"text":"02 Jan 1970"}'
printf '\n{%% include "x" %%}' >"$tmp/i.jinja"
expect 1 "$GRAM" render --template "$tmp/i.jinja" "$tmp/one.jsonl"
says err "line 2: the statement 'include', which gram does not know"
one_sentence

# The files of a model, the later of these winning over the earlier.
tiny_model "$tmp/m"
finds() { expect 0 "$GRAM" render "$tmp/m" "$tmp/one.jsonl"; says out "{\"text\":\"$1\"}"; }
rm -f "$tmp/m/tokenizer_config.json" "$tmp/m/chat_template.jinja"
expect 0 "$GRAM" render "$tmp/m" "$tmp/one.jsonl" --template "$tmp/d.jinja"
echo '{"chat_template": "processor"}' >"$tmp/m/processor_config.json"
finds processor
echo '{"chat_template": "processor 2"}' >"$tmp/m/chat_template.json"
finds 'processor 2'
echo '{"eos_token": {"content": "<|im_end|>"}, "chat_template": [{"name": "rag", "template": "r"}]}' \
    >"$tmp/m/tokenizer_config.json"
expect 1 "$GRAM" render "$tmp/m" "$tmp/one.jsonl"
says err 'named rag, and none is called default'
echo '{"eos_token": {"content": "<|im_end|>"}, "chat_template": "config{{ eos_token }}"}' \
    >"$tmp/m/tokenizer_config.json"
finds 'config<|im_end|>'
echo 'file' >"$tmp/m/chat_template.jinja"
finds file
mkdir "$tmp/m/additional_chat_templates"
echo 'tools {{ tools | length }}' >"$tmp/m/additional_chat_templates/tool_use.jinja"
finds file
one ', "tools": [{}, {}]'
finds 'tools 2'

# What a run was trained with, its model is read with.
tiny_model "$tmp/n"
echo '{"prompt": "a", "chosen": "b", "rejected": "c"}' >"$tmp/rows.jsonl"
sed 's/<|im_start|>/</; s/<|im_end|>/>/' "$tmp/t.jinja" >"$tmp/mine.jinja"
expect 0 "$GRAM" finetune "$tmp/n" "$tmp/rows.jsonl" --loss bt --steps 1 --template "$tmp/mine.jinja" \
    --out "$tmp/trained" -q
cmp "$tmp/mine.jinja" "$tmp/trained/chat_template.jinja" || die "the template did not go with the model"

# An adapter with a template and no tokenizer: its template, and the base's tokens.
expect 0 "$GRAM" convert "$tmp/n" --out "$tmp/n.gguf"
expect 0 "$GRAM" finetune "$tmp/n.gguf" "$tmp/rows.jsonl" --loss bt --steps 1 --lora-rank 2 \
    --template "$tmp/mine.jinja" --out "$tmp/adapter" -q
rm -f "$tmp/adapter/tokenizer.json" "$tmp/adapter/tokenizer_config.json"
one ''
expect 0 "$GRAM" render "$tmp/n.gguf" --template "$tmp/mine.jinja" "$tmp/one.jsonl"
mv "$tmp/out" "$tmp/want"
expect 0 "$GRAM" render "$tmp/adapter" "$tmp/one.jsonl"
cmp "$tmp/want" "$tmp/out" || die "the adapter's template is not read"
expect 0 "$GRAM" finetune "$tmp/adapter" "$tmp/rows.jsonl" --loss bt --steps 1 --lora-rank 2 --out "$tmp/on" -q
cmp "$tmp/mine.jinja" "$tmp/on/chat_template.jinja" || die "the template did not go on with the adapter"
expect 0 "$GRAM" merge "$tmp/adapter" --out "$tmp/merged"
cmp "$tmp/mine.jinja" "$tmp/merged/chat_template.jinja" || die "the template did not go with the merged model"
