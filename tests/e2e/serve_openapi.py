#!/usr/bin/env python3
"""The OpenAPI document against the server: serve_openapi.py URL. Every path and method that it lists is asked, request
and answer are held against its schemas, and so is a refusal; and no path is left out (the document lists what /metrics
has counted). Debian: python3-jsonschema; ends with 77 where it is not installed."""
import json
import re
import sys
import urllib.error
import urllib.request

try:
    from jsonschema import Draft202012Validator, RefResolver
except ImportError:
    print("  python3-jsonschema is not installed")
    sys.exit(77)

URL = sys.argv[1]
TEXT = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nan answer<|im_end|>\n"
USER = [{"role": "user", "content": "What is 1+1?"}]
RERANK = [{"query": "q", "documents": ["x", {"text": "yyyy"}], "top_n": 1}, {"query": "q", "texts": ["x", "yyyy"]},
          {"query": "q", "documents": ["x", "yyyy"], "instruct": "i"}]
CLASSIFY = [{"input": TEXT, "reference": "r"}, {"input": [TEXT, TEXT], "reference": "r", "use_activation": False},
            {"messages": USER + [{"role": "assistant", "content": "2"}], "reference": "r"},
            {"text": [TEXT], "reference": "r"}]
SCORE = [{"prompt": "q", "a": "x", "b": "y"},
         {"pairs": [{"prompt": USER, "chosen": "x", "rejected": "y"}], "explain": True},
         {"pairs": [{"prompt": "q", "a": "x", "b": "y\0"}, {"prompt": "q", "a": "x", "b": "y"}]},
         {"queries": "q", "documents": ["x", "y"]}, {"query": "q", "items": ["x"], "label_token_ids": [1, 2]},
         {"prompt": "q", "a": "x", "b": "y", "rationale": True, "votes": 3, "rationale_tokens": 8, "seed": -1,
          "explain": True},
         {"pairs": [{"prompt": USER, "chosen": "x", "rejected": "y"}], "rationale": True, "early": 1,
          "rationale_format": {"opening": "<think>\n", "closing": "\n</think>", "cue": "\n\n<answer>\n",
                               "ending": "\n</answer>"}}]
EXAMPLES = {
    "/v1/score": SCORE, "/score": SCORE,
    "/v1/rank": [{"prompt": "q", "responses": ["x", "yy", "zzz"], "method": m, "reference": "r"}
                 for m in ("all-pairs", "tournament", "linear", "reference")]
    + [{"prompt": "q", "responses": ["x", "yy", "\ud800"], "partial": True},
       {"prompt": "q", "responses": ["x", "yy", "zzz"], "method": "tournament", "rationale": True,
        "rationale_tokens": 8}],
    "/v1/reward": [{"prompt": "q", "responses": ["x", "y"]}, {"prompt": USER, "response": "x", "reference": "r"},
                   {"prompt": "q", "responses": ["x", "y", "z\0"], "partial": True},
                   {"prompt": "q", "responses": ["x", "y"], "rationale": True, "votes": 2, "rationale_tokens": 8}],
    "/get_reward": [{"query": [TEXT], "prompts": ["q"], "labels": ["r"]}],
    "/classify": CLASSIFY, "/v1/classify": CLASSIFY,
    "/pooling": CLASSIFY[:3],
    "/v1/embeddings": CLASSIFY[:2] + [{"input": TEXT, "reference": "r", "encoding_format": "base64"}],
    "/generative_scoring": [SCORE[4], {"query": [1, 2], "items": [[3], [4, 5]], "label_token_ids": [6]}],
    "/predict": [{"inputs": [["q", "x"], ["q", "y"]]}, {"inputs": ["q", "x"], "reference": "r"},
                 {"inputs": TEXT, "reference": "r"}],
    "/v1/score/evaluation": [{"model": "m", "messages": [TEXT], "reference": "r"}],
    "/compare": [{"conversation_history": USER,
                  "response_objs": ["x", {"output": [{"type": "message", "content": "y"}]}]}],
    "/v1/chat/completions": [{"messages": USER, "max_tokens": 3, "logprobs": True, "top_logprobs": 2, "n": 2,
                              "seed": 1},
                             {"messages": USER, "max_tokens": 3, "seed": -1}],
    "/v1/completions": [{"prompt": "Once", "max_tokens": 3, "logprobs": 2, "n": 2, "seed": 1},
                        {"prompt": ["Once", "upon"], "echo": True, "best_of": 3, "min_p": 0.1, "stop": ["A."]},
                        {"prompt": [72, 73], "logprobs": 0},
                        {"prompt": [[72], [73, 74]], "echo": True, "max_tokens": 0}],
    "/tokenize": [{"content": "hello"}], "/detokenize": [{"tokens": [72, 73]}], "/apply-template": [{"messages": USER}],
}
for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"):
    EXAMPLES[path] = RERANK


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    r = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(r, timeout=120) as a:
            return a.status, a.headers.get_content_type(), a.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers.get_content_type(), e.read()


doc = json.loads(ask("GET", "/openapi.json")[2])
resolver = RefResolver.from_schema(doc)
HEAD = json.loads(ask("GET", "/health")[2])["model"] == "head"


def check(schema, value, what):
    errors = list(Draft202012Validator(schema, resolver=resolver).iter_errors(value))
    if errors:
        sys.exit(f"FAILED: {what}: {errors[0].message} at {list(errors[0].absolute_path)} in {json.dumps(value)[:500]}")


def response(operation, status):
    r = operation["responses"][str(status)]
    return resolver.resolve(r["$ref"])[1] if "$ref" in r else r


def refused_fields(operation):
    """The fields whose values the request's schema pins down: {name: what goes}."""
    fields = {}
    for part in operation["requestBody"]["content"]["application/json"]["schema"].get("allOf", []):
        if part.get("$ref", "").rsplit("/", 1)[-1].startswith("Unread"):
            fields.update({k: v["enum"] for k, v in resolver.resolve(part["$ref"])[1]["properties"].items()})
    return fields


def check_refused(path, operation, body):
    for name, fine in refused_fields(operation).items():
        for value in ("other", 7, True, [1], {"x": 1}):
            if value in fine:
                continue
            status, _, text = ask("POST", path, {**body, name: value})
            error = json.loads(text)["error"] if status != 200 else {}
            if status != 422 or error["param"] != name or name not in error["message"]:
                sys.exit(f"FAILED: {path} with {name} {value!r}: {status} {text}")
        for value in fine:
            status, _, text = ask("POST", path, {**body, name: value})
            if status != 200:
                sys.exit(f"FAILED: {path} with {name} {value!r}: {status} {text}")


def check_unknown(path, operation, body):
    """Where the fields that change nothing are listed, no other goes."""
    for part in operation["requestBody"]["content"]["application/json"]["schema"].get("allOf", []):
        if not part.get("$ref", "").endswith("/IdleWriting"):
            continue
        idle = {name: "x" for name in resolver.resolve(part["$ref"])[1]["properties"]}
        status, _, text = ask("POST", path, {**body, **idle, "of_tomorrow": None})
        if status != 200:
            sys.exit(f"FAILED: {path} with {list(idle)}: {status} {text}")
        status, _, text = ask("POST", path, {**body, "of_tomorrow": 1})
        if status != 422 or json.loads(text)["error"]["param"] != "of_tomorrow":
            sys.exit(f"FAILED: {path} with an unknown field: {status} {text}")


asked = 0
for path, methods in doc["paths"].items():
    for method, operation in methods.items():
        if method == "get":
            status, kind, text = ask("GET", path)
            assert status == 200, (path, status)
            content = response(operation, 200)["content"]
            assert kind in content, (path, kind)
            if kind == "application/json":
                check(content[kind]["schema"], json.loads(text), "GET " + path)
            asked += 1
            continue
        wanted = operation["requestBody"]["content"]["application/json"]["schema"]
        for body in EXAMPLES[path]:
            check(wanted, body, "the example for " + path)
            status, kind, text = ask("POST", path, body)
            if status == 501 and body.get("rationale") and HEAD:    # it cannot write
                check(response(operation, 501)["content"][kind]["schema"], json.loads(text), "501 of " + path)
                continue
            if status != 200:
                sys.exit(f"FAILED: {path} {body}: {status} {text}")
            check(response(operation, 200)["content"][kind]["schema"], json.loads(text), "POST " + path)
            asked += 1
        check_refused(path, operation, EXAMPLES[path][0])
        check_unknown(path, operation, EXAMPLES[path][0])
        status, kind, text = ask("POST", path, {})
        check(response(operation, status)["content"][kind]["schema"], json.loads(text), f"{status} of {path}")
        assert status == 422, (path, status)

counted = set(re.findall(r'gram_requests_total\{method="\w+",path="([^"]+)"', ask("GET", "/metrics")[2].decode()))
assert counted <= set(doc["paths"]), counted - set(doc["paths"])
print(f"  {asked} requests over {len(doc['paths'])} paths agree with /openapi.json")
