#!/usr/bin/env python3
"""The Python package against the library: test_gram.py GRAM_PROGRAM. Needs cffi and NumPy; what needs TRL, datasets or
transformers is left out where these are not installed."""
import concurrent.futures
import datetime
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock

import numpy as np

import gram
from gram import GramError

JUDGE, REWARD, PURM = "tests/golden/train/judge", "tests/golden/rewards/llama", "tests/golden/rewards/purm"
PROGRAM = os.environ["GRAM"]


def has(name):
    return importlib.util.find_spec(name) is not None


def command(*args):
    return subprocess.run([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=True).stdout


def move_away(adapter):
    """Its base is not where the adapter says any more."""
    with open(os.path.join(adapter, "adapter_config.json")) as f:
        config = json.load(f)
    with open(os.path.join(adapter, "adapter_config.json"), "w") as f:
        json.dump({**config, "base_model_name_or_path": "/nonexistent"}, f)


class Judging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m, cls.r = gram.Model(JUDGE), gram.Model(REWARD)

    def test_the_numbers_are_the_commands(self):
        rows = [{"id": "x", "prompt": "Why?", "chosen": "because 😀", "rejected": "no"},
                {"id": "y", "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
                 "chosen": "a", "rejected": "b"}]
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "rows.jsonl")
            with open(path, "w") as f:
                f.writelines(json.dumps(r) + "\n" for r in rows)
            want = [json.loads(line) for line in command("score", JUDGE, path, "-q").splitlines()]
        v = self.m.score_pairs([(r["prompt"], r["chosen"], r["rejected"]) for r in rows])
        for i, w in enumerate(want):
            self.assertEqual(w["preference"], v.preference[i])
            self.assertEqual(w["p_swapped"], v[i].p_swapped)
            self.assertEqual(w["tokens"], v[i].tokens)
        self.assertEqual([w["preference"] for w in self.m.score_rows(rows)], list(v.preference))
        self.assertEqual(v[0].reward, None)
        self.assertEqual(len(self.m.score_pairs([])), 0)

    def test_a_judge_of_one_answer(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "groups.jsonl")
            with open(path, "w") as f:
                f.write(json.dumps({"prompt": "q", "responses": ["a", "bb", "c"]}) + "\n")
            for how in {}, {"scale": "1-5"}:
                m = gram.Model(JUDGE, pointwise=True, labels=None if how else ("A", "B"), **how)
                want = command("rank", JUDGE, path, "-q", "--pointwise",
                               *(("--scale", how["scale"]) if how else ("--labels", "A,B")))
                self.assertEqual(json.loads(want)["rewards"], list(m.rewards("q", ["a", "bb", "c"])))
                m.close()

    def test_a_reward_head(self):
        v = self.r.score("q", "a", "b")
        r = self.r.rewards("q", ["a", "b", "a"])
        self.assertEqual(v.reward, (r[0], r[1]))
        self.assertEqual(r[0], r[2])
        self.assertEqual(self.r.head, "reward")
        purm, texts = gram.Model(PURM, lambda_=30.0), ["a", "bb", "ccc"]        # which holds for every number of it
        self.assertEqual(purm.rewards("q", texts).tolist(), purm.rank("q", texts).score.tolist())
        self.assertEqual(purm.rewards("q", texts, lambda_=0.0).tolist(), gram.Model(PURM).rewards("q", texts).tolist())
        self.assertNotEqual(purm.rewards("q", texts)[0], purm.rewards("q", texts, lambda_=0.0)[0])
        text = self.r.show_chat("q")
        self.assertTrue(np.isfinite(self.r.text_rewards([text + "a", text + "b"])).all())

    def test_groups(self):
        k = self.m.rank("q", ["a", "b", "c"])
        self.assertEqual(sorted(k.order), [0, 1, 2])
        self.assertEqual(k.preference.shape, (3, 3))
        by = self.m.rank("q", ["a", "b"], "reference", "c")
        self.assertEqual(by.comparisons, 2)
        self.assertEqual(self.m.rank("q", ["a", "b"], reference="c").score.tolist(), by.score.tolist())
        r = self.m.rewards("q", ["a", "b"], reference="c")
        want = [self.m.score("q", x, "c").preference - 0.5 for x in "ab"]
        np.testing.assert_allclose(r, want, atol=1e-12)
        odd = self.m.rewards("q", ["a", "7\0", "b", "\ud800"])
        self.assertEqual([e is None for e in odd.error], [True, False, True, False])
        np.testing.assert_array_equal(odd[[0, 2]], self.m.rewards("q", ["a", "b"]))
        self.assertTrue(np.isnan(odd[1]) and "U+0000" in odd.error[1] and "surrogate" in odd.error[3])

    def test_errors_are_sentences(self):
        with self.assertRaisesRegex(GramError, "/nonexistent") as e:
            gram.Model("/nonexistent")
        self.assertEqual(e.exception.status, "EIO")
        with self.assertRaisesRegex(GramError, "dtype must be one of"):
            gram.Model(JUDGE, dtype="fp4")
        for call in (lambda: gram.Model(JUDGE, threds=1), lambda: gram.inspect(JUDGE, threds=1)):
            with self.assertRaisesRegex(TypeError, r"^\w+\(\) takes no threds: wanted some of threads, .*, note$"):
                call()
        for call in (self.m.score_file, self.m.rank_file):
            with self.assertRaisesRegex(TypeError, r"_file\(\) takes no threads: wanted some of columns, .*, shard$"):
                call("in", "out", threads=1)
        with self.assertRaisesRegex(TypeError, r"^go_on\(\) takes no top: wanted some of max_new_tokens, .*, seed$"):
            self.m.go_on([1], top=1)
        from gram.client import Gram, trl_reward
        from gram.trl import reward_function
        with self.assertRaisesRegex(TypeError, "is open already, and max_tokens would change nothing"):
            reward_function(self.m, max_tokens=5)
        with self.assertRaisesRegex(TypeError, "is a client already: url, timeout would change nothing"):
            trl_reward("http://127.0.0.1:2", gram=Gram("http://127.0.0.1:1"), timeout=5)
        with self.assertRaisesRegex(GramError, "wildest"):
            self.m.rank("q", ["a", "b"], "wildest")
        for answer in 3, {"role": "user", "content": "a"}:
            with self.assertRaises(TypeError):
                self.m.score("q", answer, "x")
        for how, why in (({"scheme": "tournament"}, "nothing to compare"), ({"reference": "c"}, "nothing to compare"),
                         ({"unit": "preference"}, "no preference"), ({"unit": "points"}, "points")):
            with self.assertRaisesRegex(GramError, why):        # a head gives each answer a number of its own
                self.r.rewards("q", ["a", "b"], **how)
        with self.assertRaisesRegex(GramError, "linear was asked for"):
            self.m.rewards("q", ["a", "b"], scheme="linear", reference="c")
        m = gram.Model(JUDGE)
        m.close()
        with self.assertRaisesRegex(GramError, "closed"):
            m.score("q", "a", "b")

    def test_text(self):
        a = self.m.generate(["Hi", "Ho"], n=2, max_new_tokens=6, seed=5, temperature=0.8)
        b = self.m.generate(["Hi"], n=1, max_new_tokens=6, seed=a[0][1].seed, temperature=0.8)
        self.assertEqual(list(a[0][1].ids), list(b[0][0].ids))
        np.testing.assert_array_equal(a[0][1].logprobs, b[0][0].logprobs)
        self.assertEqual(a[0][0].finish, "length")
        many = self.m.generate(["Hi"], n=64, max_new_tokens=3, seed=5)[0]
        few = self.m.generate(["Hi"], n=64, max_new_tokens=3, seed=5, products="few", speculate=2)[0]
        self.assertEqual({x.products for x in many + few}, {"tiles", "few"})
        for i in (0, 40):
            for all in (many, few):
                alone = self.m.generate(["Hi"], max_new_tokens=3, seed=5 + i, products=all[i].products)[0][0]
                self.assertEqual((alone.text, alone.logprobs.tolist()), (all[i].text, all[i].logprobs.tolist()))
        with self.assertRaisesRegex(GramError, "products must be one of auto, few, tiles"):
            self.m.generate(["Hi"], products="bytes")
        seen = []
        self.m.generate(["Hi"], n=3, max_new_tokens=2, progress=lambda done, total: seen.append((done, total)))
        self.assertEqual(seen, [(1, 3), (2, 3), (3, 3)])

        def stop(done, total):
            raise KeyError("mine")
        with self.assertRaisesRegex(KeyError, "mine"):
            self.m.generate(["Hi"], n=3, max_new_tokens=2, progress=stop)
        with self.assertRaisesRegex(GramError, "top_p"):
            self.m.generate(["Hi"], top_p=2)
        begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
        self.assertIn("must end with a turn of the user", self.m.generate([begun], max_new_tokens=2)[0][0].error)

    def test_tokens_and_what_follows_them(self):
        ids = self.m.tokenize("Hi you")
        logprobs, likeliest = self.m.logprobs(ids)
        z = self.m.logits(ids)
        z = z - z.max(axis=1, keepdims=True)
        want = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(logprobs[1:], want[np.arange(len(ids) - 1), ids[1:]], atol=1e-4)
        self.assertEqual(list(likeliest[1:]), list(z.argmax(axis=1)[:-1]))
        self.assertTrue(np.isnan(logprobs[0]) and likeliest[0] == -1)
        chat = self.m.tokenize(self.m.show_chat("Hi"))
        self.assertEqual(self.m.go_on(chat, max_new_tokens=4, temperature=0.0),
                         self.m.generate(["Hi"], max_new_tokens=4, temperature=0.0)[0][0].text)
        first = int(self.m.generate(["Hi"], max_new_tokens=1, temperature=0.0)[0][0].ids[0])
        self.assertEqual(self.m.go_on(chat, max_new_tokens=4, temperature=0.0, stop_ids=[first]), "")
        with self.assertRaisesRegex(TypeError, "takes no n"):       # their texts would be one
            self.m.go_on(chat, max_new_tokens=4, n=2)

    def test_logits_and_inspection(self):
        self.assertEqual(self.m.logits([1, 2, 3]).shape, (3, self.m.vocabulary))
        self.assertEqual(gram.inspect(JUDGE)["architecture"], "llama")
        self.assertIn("head", gram.inspect(REWARD))

    def test_threads_share_a_model(self):
        want, got = self.m.score("q", "a", "b"), [None] * 4

        def work(i):
            got[i] = self.m.score("q", "a", "b")
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(got, [want] * 4)

    def test_what_closes_a_model_waits_for_who_uses_it(self):
        m, got = gram.Model(JUDGE), []
        want, began = self.m.score("q", "a" * 200, "b"), threading.Event()

        def work():
            try:
                while True:
                    began.set()
                    got.append(m.score("q", "a" * 200, "b"))
            except GramError as e:
                got.append(str(e))
        t = threading.Thread(target=work)
        t.start()
        began.wait()
        m.close()
        t.join(60)
        self.assertIn("closed", got.pop())
        self.assertEqual(set(got) | {want}, {want})

    def test_what_is_no_list_is_none(self):
        for ask in (lambda: self.m.generate("Hi", max_new_tokens=1), lambda: self.m.rank("q", "ab"),
                    lambda: self.m.rewards("q", "ab"), lambda: self.m.score_pairs("abc"),
                    lambda: self.m.rank("q", {"a", "b"}),
                    lambda: self.r.text_rewards("ab"), lambda: self.m.logits([1.5]), lambda: self.m.logits([[1], [2]]),
                    lambda: self.m.go_on([1.5])):
            with self.assertRaisesRegex(TypeError, "list"):
                ask()
        for pair in {"prompt": "q", "chosen": "a", "rejected": "b"}, "qab", ("q", "a"):     # keys, letters are texts
            with self.assertRaisesRegex(TypeError, "pair 1 must be"):
                self.m.score_pairs([("q", "a", "b"), pair])
        with self.assertRaisesRegex(GramError, "^rows:2: key \"rejected\""):               # not of a file of ours
            self.m.score_rows([{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "a"}])
        with self.assertRaisesRegex(GramError, "stage must be one of"):
            gram.train_options("align")
        with self.assertRaisesRegex(GramError, "no \"content\""):
            self.m.score([{"role": "user", "contents": "q"}], "a", "b")
        with self.assertRaisesRegex(GramError, "31 bits"):
            self.m.logprobs([2**32 + 1])

    def test_a_fork_is_refused(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.m.score("q", "a", "b")
            except GramError as e:
                os._exit(0 if "fork" in str(e) else 2)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_shards(self):
        with tempfile.TemporaryDirectory() as d:
            rows, out = os.path.join(d, "rows.jsonl"), os.path.join(d, "v.jsonl")
            with open(rows, "w") as f:
                f.writelines(json.dumps({"prompt": f"q{i}", "chosen": "a" * i,
                                         "rejected": "b"}) + "\n" for i in range(5))
            self.assertEqual([self.m.score_file(rows, out, shard=(i, 2))["rows"] for i in range(2)], [2, 3])
            self.assertEqual(gram.merge_shards(out), 5)
            with open(out) as f:
                self.assertEqual(f.read(), command("score", JUDGE, rows, "-q"))
            with self.assertRaisesRegex(GramError, "from 0 to N - 1"):
                self.m.score_file(rows, out, shard=(2, 2))
            with self.assertRaisesRegex(GramError, "from 0 to n - 1"):
                self.m.score_file(rows, out, shard=(0, 0))

    def test_what_is_no_json_is_no_text(self):
        good = {"prompt": np.array([{"role": "user", "content": "q"}], dtype=object), "chosen": np.str_("a"),
                "rejected": "b", "margin": np.float32(0.5), "picture": b"\xff", "day": datetime.date(2020, 1, 1)}
        self.assertEqual(self.m.score_rows([good])[0]["preference"], self.m.score("q", "a", "b").preference)
        for value in (b"a", object(), {1, 2}):
            with self.assertRaisesRegex(GramError, "chosen"):
                self.m.score_rows([{"prompt": "q", "chosen": value, "rejected": "b"}])

    def test_evaluation(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "rows.jsonl")
            with open(path, "w") as f:
                f.writelines(json.dumps({"id": str(i), "prompt": "q", "chosen": "a" * (i + 1), "rejected": "b"}) + "\n"
                             for i in range(5))
            one = self.m.eval(path, rows=os.path.join(d, "one.jsonl"))
            self.r.eval([path], rows=os.path.join(d, "two.jsonl"))
            for i in range(2):
                self.assertGreater(self.m.eval(path, rows=os.path.join(d, "parts.jsonl"), shard=(i, 2))["rows"], 0)
            all_of_it = self.m.eval(path, rows=os.path.join(d, "parts.jsonl"), resume=True)
            self.assertEqual(all_of_it["summary"]["accuracy"], one["summary"]["accuracy"])
            self.assertEqual(one["gram_eval"], 1)
            self.assertEqual(gram.compare(os.path.join(d, "one.jsonl"), os.path.join(d, "two.jsonl"))["all"]["rows"], 5)


class Training(unittest.TestCase):
    rows = [{"prompt": f"q{i}", "chosen": "yes " * (i % 3 + 1), "rejected": "no"} for i in range(8)]

    def test_a_run_and_its_report(self):
        steps = []
        with tempfile.TemporaryDirectory() as d:
            out = os.path.join(d, "out")
            r = gram.finetune(JUDGE, self.rows, out, steps=3, batch_rows=2, lr=np.float64(1e-3), loss="bt", lora_rank=2,
                              on_step=lambda s: steps.append(s["loss"]))
            self.assertEqual((r["steps"], len(steps)), (3, 3))
            self.assertEqual(r["loss"], steps[-1])
            self.assertEqual(gram.Model(out).head, "reward")
            for name in ("tokenizer.json", "tokenizer_config.json"):        # as of adapters that others published
                os.unlink(os.path.join(out, name))
            move_away(out)
            judge, adapter = gram.Model(JUDGE), gram.Model(out, base=JUDGE)
            self.assertEqual(adapter.tokenize("abc").tolist(), judge.tokenize("abc").tolist())
            self.assertEqual(adapter.bos_id(), judge.bos_id())

    def test_ids_are_texts_again(self):
        m = gram.Model(JUDGE)
        ids = m.tokenize("<|im_start|>h\u00e9")
        self.assertEqual(ids[0], m.bos_id())
        self.assertEqual((m.detokenize(ids), m.detokenize(ids, special=False), m.detokenize([])),
                         ("<|im_start|>h\u00e9", "h\u00e9", ""))
        self.assertEqual(m.detokenize(ids[:-1]), "<|im_start|>h\ufffd")
        with self.assertRaises(GramError):
            m.detokenize([10**6])
        m.close()
        for call in (lambda: m.tokenize("a"), lambda: m.detokenize([1]), m.bos_id):
            with self.assertRaisesRegex(GramError, "closed"):
                call()

    def test_what_is_no_option_is_said(self):
        for options, why in (({"lrr": 1}, "lrr"), ({"lr": "fast"}, "lr"), ({"loss": "gram", "posreg": 0.5}, "posreg")):
            with tempfile.TemporaryDirectory() as d, self.assertRaisesRegex(GramError, why):
                gram.finetune(JUDGE, self.rows, os.path.join(d, "out"), **options)
        self.assertIn("lora_rank", gram.train_options())

    def test_a_stop_can_be_resumed(self):
        with tempfile.TemporaryDirectory() as d:
            out, how = os.path.join(d, "out"), dict(steps=4, batch_rows=2, lr=1e-3)
            with open(os.path.join(d, "rows.jsonl"), "w") as f:
                f.writelines(json.dumps(r) + "\n" for r in self.rows)
            with self.assertRaises(GramError) as e:
                gram.finetune(JUDGE, f.name, out, on_step=lambda s: s["step"] < 2, **how)
            self.assertEqual(e.exception.status, "ESTOPPED")
            self.assertEqual(gram.finetune(JUDGE, f.name, out, resume=True, **how)["resumed"], 2)


class Trainers(unittest.TestCase):
    def test_the_reward_function(self):
        from gram.trl import reward_function
        fn = reward_function(gram.Model(JUDGE))
        got = fn(["q", "q", "r"], ["a", "b", "alone"])
        self.assertEqual(got[2], None)
        self.assertAlmostEqual(got[0], -got[1])
        chat = [{"role": "user", "content": "q"}]
        self.assertEqual(fn([chat, chat], [[{"role": "assistant", "content": t}] for t in "ab"]), got[:2])
        self.assertEqual(fn(["q"] * 3, ["a", "\0", "b"])[1], None)
        by_reference = reward_function(gram.Model(JUDGE), "solution")
        self.assertFalse(math.isnan(by_reference(["q"], ["a"], solution=["b"])[0]))
        purm = gram.Model(PURM, lambda_=30.0)
        self.assertEqual(reward_function(purm)(["q"] * 2, ["a", "b"]), purm.rewards("q", ["a", "b"]).tolist())
        pointwise = gram.Model(JUDGE, pointwise=True, labels=("A", "B"))        # a number for one alone
        self.assertEqual(reward_function(pointwise)(["q"], ["a"]), [float(pointwise.rewards("q", ["a"])[0])])

    def test_verl(self):
        os.environ["GRAM_JUDGE"] = JUDGE
        from gram import verl
        # as verl 0.9 does: the file by its path, arguments by their names, and some that are its own
        spec = importlib.util.spec_from_file_location("custom_module", verl.__file__)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        named = loaded.compute_score(data_source="d", solution_str="a", ground_truth="b", reward_router_address=None,
                                     extra_info={"question": "q", "num_turns": 1, "rollout_reward_scores": {}})
        self.assertEqual(named, verl.compute_score("d", "a", "b", {"question": "q"}))
        want = gram.Model(JUDGE).score("q", "a", "b").preference
        self.assertEqual(verl.compute_score("d", "a", "b", {"question": "q"}), want)
        self.assertEqual(verl.compute_score("d", "a", np.int64(7), {"question": "q"}),
                         gram.Model(JUDGE).score("q", "a", "7").preference)
        from gram import client
        for ask in verl.compute_score, client.compute_score:
            for truth in {"target": "b"}, ["b"], b"b", math.nan:
                with self.assertRaisesRegex(GramError, "ground_truth must be the reference answer"):
                    ask("d", "a", truth, {"question": "q"})
        os.environ["GRAM_JUDGE"] = REWARD
        with self.assertRaisesRegex(GramError, r"U\+0000"):
            verl.compute_score("d", "a\0", None, {"question": "q"})

    def test_without_a_path_it_is_the_default_judge(self):
        was = os.environ.get("GRAM_JUDGE")
        os.environ["GRAM_JUDGE"] = JUDGE
        try:
            with gram.Model() as m:
                self.assertEqual(m.path, gram.shipped_judge())
                self.assertEqual(m.temperature, None)
                self.assertEqual(m.score("q", "a", "b"), gram.Model(JUDGE).score("q", "a", "b"))
            self.assertEqual(gram.inspect()["path"], JUDGE)
        finally:
            os.environ.pop("GRAM_JUDGE")
            if was is not None:
                os.environ["GRAM_JUDGE"] = was

    @unittest.skipUnless(has("torch"), "torch is not installed")
    def test_openrlhf(self):
        os.environ["GRAM_JUDGE"] = REWARD
        from gram import openrlhf
        text = gram.Model(REWARD).show_chat("q")
        # as OpenRLHF 0.11 does: the file by its path, lists of one, in a thread
        spec = importlib.util.spec_from_file_location("reward_func", openrlhf.__file__)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            got = pool.submit(loaded.reward_func, [text + "a"], [text], ["x"]).result()
        self.assertEqual(sorted(got), ["extra_logs", "rewards", "scores"])
        self.assertEqual(float(got["rewards"][0]), np.float32(gram.Model(REWARD).text_rewards([text + "a"])[0]))
        self.assertEqual(tuple(openrlhf.reward_func([text + "a"], [text], ["x"])["rewards"].shape), (1,))

    def test_lm_eval_settings_are_taken_or_refused(self):
        stubs = {n: types.ModuleType(n) for n in ("lm_eval", "lm_eval.utils", "lm_eval.api", "lm_eval.api.model",
                                                  "lm_eval.api.registry", "tqdm")}
        stubs["lm_eval"].utils, stubs["tqdm"].tqdm = stubs["lm_eval.utils"], lambda it, **_: it
        stubs["lm_eval.api.model"].TemplateLM = type("TemplateLM", (), {"__init__": lambda self: None})
        stubs["lm_eval.api.registry"].register_model = lambda name: lambda cls: cls
        with unittest.mock.patch.dict(sys.modules, stubs):
            sys.modules.pop("gram.lm_eval", None)
            made = importlib.import_module("gram.lm_eval").GramLM
        sys.modules.pop("gram.lm_eval", None)
        lm = made(gram.Model(JUDGE))
        with tempfile.TemporaryDirectory() as d:                # an adapter that was moved away from its base
            out = os.path.join(d, "out")
            gram.finetune(JUDGE, Training.rows, out, steps=1, batch_rows=2, lora_rank=2)
            move_away(out)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                os.unlink(os.path.join(out, name))
            moved = made(out, base=JUDGE)
            self.assertEqual((moved.max_length, moved.prefix_token_id), (lm.max_length, lm.prefix_token_id))
            self.assertNotEqual(moved.prefix_token_id, moved.eot_token_id)

        def write(n=1, **how):
            return lm.generate_until([types.SimpleNamespace(args=("Once", how))] * n)
        ids = lm.tok_encode("Once")
        greedy = lm.model.go_on(ids, max_new_tokens=4, temperature=0.0)
        for how in ({"max_new_tokens": 4}, {"max_tokens": 4, "temperature": 0.7, "do_sample": False},
                    {"max_gen_toks": 4, "max_new_tokens": 9, "until": None, "num_beams": 1}):
            self.assertEqual(write(**how), [greedy])
        drawn = write(3, max_gen_toks=4, temperature=0.7, min_p=0.01)
        self.assertEqual(drawn, [lm.model.go_on(ids, max_new_tokens=4, temperature=0.7, min_p=0.01, seed=i)
                                 for i in range(3)])
        self.assertEqual(len(set(drawn)), 3)
        for how in ({"num_beams": 4}, {"no_repeat_ngram_size": 2}, {"temprature": 1}):
            with self.assertRaisesRegex(GramError, next(iter(how))):
                write(**how)

    @unittest.skipUnless(has("lm_eval") and has("torch"), "lm_eval is not installed")
    def test_lm_eval_gets_what_its_own_model_gives(self):
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
        from gram.lm_eval import GramLM
        ours, theirs = GramLM(JUDGE), HFLM(pretrained=JUDGE, device="cpu", dtype="float32", batch_size=1)
        self.assertEqual(ours.max_length, theirs.max_length)

        def both(kind, *args):
            asked = [Instance(kind, {}, a, i) for i, a in enumerate(args)]
            return getattr(ours, kind)(asked, disable_tqdm=True), getattr(theirs, kind)(asked, disable_tqdm=True)
        for got, want in zip(*both("loglikelihood", ("The sky is", " blue"), ("The sky is ", "grey"), ("", "Yes"))):
            self.assertAlmostEqual(got[0], want[0], places=3)
            self.assertEqual(got[1], want[1])
        for got, want in zip(*both("loglikelihood_rolling", ("A text of some length. " * 40,), ("short",))):
            self.assertAlmostEqual(got, want, delta=1e-4 * abs(want))
        got, want = both("generate_until", ("Once", {"until": ["zz"], "max_gen_toks": 5, "do_sample": False}))
        self.assertEqual(got, want)

    @unittest.skipUnless(has("datasets"), "datasets is not installed")
    def test_a_dataset_goes_in_and_comes_out(self):
        import datasets
        d = datasets.Dataset.from_list([{"prompt": "q", "chosen": "a", "rejected": "b", "tokens": "mine"}])
        out = gram.Model(JUDGE).score_rows(d)
        self.assertEqual(out[0]["tokens"], "mine")
        self.assertIn("preference", out.column_names)
        self.assertIn("gram_tokens", out.column_names)

    @unittest.skipUnless(has("torch") and has("transformers"), "torch or transformers is not installed")
    def test_a_reward_model_reads_ids_as_the_checkpoint_wrote_them(self):
        import torch
        from transformers import AutoTokenizer
        from gram.trl import RewardModel
        model, tokenizer = gram.Model(REWARD), AutoTokenizer.from_pretrained(REWARD)
        texts = ["<|im_start|>user\nh\u00e9<|im_end|>\n", "b"]
        ids = [model.tokenize(t).tolist() for t in texts]
        n = max(map(len, ids))
        given = {"input_ids": torch.tensor([[0] * (n - len(i)) + i for i in ids]),
                 "attention_mask": torch.tensor([[0] * (n - len(i)) + [1] * len(i) for i in ids])}
        for by in (None, tokenizer):            # its own words, or the trainer's
            got = RewardModel(model, by)(**given).logits
            self.assertEqual(got.squeeze(1).tolist(), [np.float32(r) for r in model.text_rewards(texts)])

    @unittest.skipUnless(has("trl"), "trl is not installed")
    def test_grpo_for_two_steps(self):
        import datasets
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        from trl import GRPOConfig, GRPOTrainer
        from gram.trl import RewardModel, reward_function
        tokenizer = AutoTokenizer.from_pretrained(REWARD)
        tokenizer.eos_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
        policy = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32,
                                              num_hidden_layers=1, num_attention_heads=2))
        asked = []
        judge = reward_function(gram.Model(JUDGE))

        def counted(prompts, completions, **columns):
            asked.append(len(prompts))
            return judge(prompts, completions, **columns)
        with tempfile.TemporaryDirectory() as d:
            trainer = GRPOTrainer(
                model=policy, reward_funcs=[counted, RewardModel(REWARD, tokenizer)],
                reward_processing_classes=[None, tokenizer], processing_class=tokenizer,
                train_dataset=datasets.Dataset.from_list([{"prompt": "Say something."}] * 8),
                args=GRPOConfig(output_dir=d, max_steps=2, per_device_train_batch_size=4, num_generations=4,
                                max_completion_length=6, report_to=[], use_cpu=True, bf16=False, save_strategy="no",
                                logging_steps=1))
            trainer.train()
        self.assertEqual(asked, [4, 4])


if __name__ == "__main__":
    unittest.main(verbosity=1)
