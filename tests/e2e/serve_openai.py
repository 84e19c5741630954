"""serve_openai.py URL MODEL: what people call of the openai package, with its defaults, against a server whose key is
s3cret; and what it must be told. The engine is tests/serve/fake.h's."""
import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key="s3cret", max_retries=0)
TEXT = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nan answer<|im_end|>\n"
USER = [{"role": "user", "content": "Grüße, 世界! 🌍"}]


def refused(status, word, call, **fields):
    try:
        call(**fields)
    except openai.APIStatusError as e:
        assert e.status_code == status and word in e.message, (e.status_code, e.message)
    else:
        raise AssertionError(f"{fields} is not refused")


embed, chat = client.embeddings.create, client.chat.completions.create
more = {"extra_body": {"reference": "ref"}} if model == "fake" else {}
by_default = embed(model="m", input=[TEXT, TEXT], **more)                       # base64, unless it is told otherwise
as_floats = embed(model="m", input=[TEXT, TEXT], encoding_format="float", **more)
for a, b in zip(by_default.data, as_floats.data):
    assert len(a.embedding) == 1 and abs(a.embedding[0] - b.embedding[0]) < 1e-6 * max(1, abs(b.embedding[0])), (a, b)
assert by_default.usage.total_tokens > 0
refused(422, "dimensions", embed, model="m", input=TEXT, dimensions=64, **more)

answer = chat(model="m", messages=USER)
assert answer.choices[0].message.content == "The answer is A. ✓" and answer.choices[0].finish_reason == "stop"
parts = [c.choices[0].delta.content or "" for c in chat(model="m", messages=USER, stream=True)]
assert "".join(parts) == "The answer is A. ✓"
assert len(chat(model="m", messages=USER, n=2, seed=-1, logprobs=True, top_logprobs=2).choices) == 2
chat(model="m", messages=USER, temperature=0, top_p=1, frequency_penalty=0, presence_penalty=0, logit_bias={}, tools=[],
     user="u", metadata={"a": "b"}, store=False, max_completion_tokens=8, stop=["x"])
tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
refused(422, "tools", chat, model="m", messages=USER, tools=[tool])
refused(422, "logit_bias", chat, model="m", messages=USER, logit_bias={"5": 10})
refused(422, "guided_choice", chat, model="m", messages=USER, extra_body={"guided_choice": ["A", "B"]})
refused(422, "response_format", chat, model="m", messages=USER, response_format={"type": "json_object"})
refused(422, "U+0000", chat, model="m", messages=[{"role": "user", "content": "\0"}])
complete = client.completions.create
out = complete(model="m", prompt=["Once", "upon"], n=2, max_tokens=20, logprobs=2, echo=True, seed=5, stop=["x"])
assert [c.text for c in out.choices] == ["OnceThe answer is A. ✓"] * 2 + ["uponThe answer is A. ✓"] * 2, out
assert out.choices[0].logprobs.tokens[0] == "O" and out.choices[0].logprobs.token_logprobs[0] is None
assert len(out.choices[0].logprobs.top_logprobs) == len(out.choices[0].logprobs.text_offset) == 4 + 7
assert out.usage.completion_tokens == 4 * 8 and out.object == "text_completion" and out.choices[3].index == 3
assert complete(model="m", prompt=[72, 105], best_of=4, max_tokens=2).choices[0].finish_reason == "length"
parts = list(complete(model="m", prompt="Once", stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].text for c in parts if c.choices) == "The answer is A. ✓"
assert parts[-1].usage.prompt_tokens == 4 and parts[-2].choices[0].finish_reason == "stop"
more = {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 2, "stop_token_ids": [5],
        "ignore_eos": False}
complete(model="m", prompt="q", temperature=0.7, top_p=0.9, presence_penalty=0.1, frequency_penalty=0.1,
         extra_body=more)
chat(model="m", messages=USER, temperature=0.7, top_p=0.9, presence_penalty=0.1, frequency_penalty=0.1, extra_body=more)
refused(422, "suffix", complete, model="m", prompt="q", suffix="after")
refused(422, "ignore_eos", complete, model="m", prompt="q", extra_body={"ignore_eos": True})
refused(422, "best_of", complete, model="m", prompt="q", n=3, best_of=2)
assert client.models.list().data[0].object == "model"
client.api_key = "wrong"
refused(401, "wrong", chat, model="m", messages=USER)
print(f"  the openai package {openai.__version__} and the server agree, model {model}")
