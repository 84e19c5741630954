/* cmd_serve.c - `gram serve`: a model over HTTP until SIGTERM, which lets it finish what it accepted. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/utf8.h"
#include "cli/cli.h"
#include "serve/serve.h"

static char *host, *key_file, *reference, *reference_file, *model_name;
static int port = 8080, log_text, strict_text, timeout_s, no_log, drain_s = 60;
static long long max_body, max_rows, max_pairs, max_queue, max_connections, max_new_tokens, prefix_cache, chat_memory,
                 round_tokens;
static double chat_share;

static const struct poptOption opts[] = {
    { "host", '\0', POPT_ARG_STRING, &host, 0,
      "Listen on this name or address (default: 127.0.0.1). Where others can reach it, a key is needed.", "HOST" },
    { "port", '\0', POPT_ARG_INT, &port, 0, "Listen on port N (default: 8080; 0: any that is free).", "N" },
    { "key-file", '\0', POPT_ARG_STRING, &key_file, 0,
      "Answer only requests with the bearer key in FILE (or in GRAM_API_KEY in the environment).", "FILE" },
    { "name", '\0', POPT_ARG_STRING, &model_name, 0, "Call the model NAME in answers.", "NAME" },
    { "reference", '\0', POPT_ARG_STRING, &reference, 0,
      "Measure single responses against this answer, where a request brings none.", "TEXT" },
    { "reference-file", '\0', POPT_ARG_STRING, &reference_file, 0, "The same, from FILE.", "FILE" },
    { "strict-text", '\0', POPT_ARG_NONE, &strict_text, 0,
      "Refuse conversations that come as one text: an answer in them that holds the marks of a turn cannot be told "
      "from turns.", NULL },
    { "log-text", '\0', POPT_ARG_NONE, &log_text, 0, "Put the text of requests into the log.", NULL },
    { "quiet", 'q', POPT_ARG_NONE, &no_log, 0, "Write no log.", NULL },
    { "max-body", '\0', POPT_ARG_LONGLONG, &max_body, 0, "Take requests of up to N bytes (default: 8388608).", "N" },
    { "max-rows", '\0', POPT_ARG_LONGLONG, &max_rows, 0,
      "Take up to N pairs or responses in a request (default: 1024).", "N" },
    { "max-pairs", '\0', POPT_ARG_LONGLONG, &max_pairs, 0,
      "Make up to N comparisons for a request (default: 8192).", "N" },
    { "max-queue", '\0', POPT_ARG_LONGLONG, &max_queue, 0,
      "Let up to N comparisons wait; then requests get 429 (default: 16384).", "N" },
    { "max-connections", '\0', POPT_ARG_LONGLONG, &max_connections, 0,
      "Hold up to N connections (default: 4096).", "N" },
    { "max-new-tokens", '\0', POPT_ARG_LONGLONG, &max_new_tokens, 0,
      "Write up to N tokens of a chat completion (default: 1024).", "N" },
    { "round-tokens", '\0', POPT_ARG_LONGLONG, &round_tokens, 0,
      "Compute about N tokens in a round (default: 4096): more for throughput, fewer for latency.", "N" },
    { "prefix-cache", '\0', POPT_ARG_LONGLONG, &prefix_cache, 0,
      "Keep up to N MiB of keys and values for prompts that come again (default: 256).", "N" },
    { "chat-memory", '\0', POPT_ARG_LONGLONG, &chat_memory, 0,
      "Let the keys and values of all chats that are written take up to N MiB (default: 1024); where they "
      "come to more, some wait.", "N" },
    { "chat-share", '\0', POPT_ARG_DOUBLE, &chat_share, 0,
      "Give chats the share X of the time while others are scored (default: 0.38): a token takes 1/X times as long as "
      "alone, and scoring keeps 1-X of its speed, or more where one thread of several writes.", "X" },
    { "timeout", '\0', POPT_ARG_INT, &timeout_s, 0, "Give up on a request after N seconds (default: 300).", "N" },
    { "drain", '\0', POPT_ARG_INT, &drain_s, 0, "After SIGTERM, wait up to N seconds for answers (default: 60).", "N" },
    CLI_INCLUDE(cli_judge_table, "Judge options:"),
    CLI_INCLUDE(cli_pointwise_table, NULL),
    CLI_INCLUDE(cli_engine_table, "Engine options:"),
    CLI_TABLE_END
};

/* The text of a file, one newline at its end taken off; the process keeps it. Zero or an exit code. */
static int read_text(const char *path, const char *what, char **out)
{
    FILE *f = fopen(path, "rb");
    gr_buf text = { 0 };
    int rc = CLI_FAILED;

    if (!f)
        return cli_fail("%s: %s", path, strerror(errno));
    if (cli_slurp(f, path, &text))
        rc = CLI_DONE;
    fclose(f);
    gr_utf8_unmark(text.p, &text.n);
    while (text.n > 0 && strchr("\r\n", text.p[text.n - 1]))
        text.p[--text.n] = '\0';
    if (!rc && text.n == 0)
        rc = cli_fail("%s: no %s, the file is empty", path, what);
    else if (!rc && strlen(text.p) != text.n)
        rc = cli_fail("%s: byte %zu of the %s is U+0000; wanted text", path, strlen(text.p), what);
    if (rc)
        gr_buf_clear(&text);
    else
        *out = text.p;
    return rc;
}

static int too_small(void)
{
    const struct { const char *name; long long n; } all[] = {
        { "max-body", max_body }, { "max-rows", max_rows }, { "max-pairs", max_pairs }, { "max-queue", max_queue },
        { "max-connections", max_connections }, { "max-new-tokens", max_new_tokens }, { "prefix-cache", prefix_cache },
        { "chat-memory", chat_memory },
        { "round-tokens", round_tokens }, { "timeout", timeout_s }, { "drain", drain_s },
    };

    for (size_t i = 0; i < GR_COUNT(all); i++)
        if (all[i].n < 0)
            return cli_usage("--%s %lld: wanted a number, 0 or more", all[i].name, all[i].n);
    if (!(chat_share >= 0 && chat_share <= 1))
        return cli_usage("--chat-share %g: wanted a number above 0, 1 at most", chat_share);
    if (port < 0 || port > 65535)
        return cli_usage("--port %d: wanted 0 to 65535", port);
    return 0;
}

static int read_options(gr_serve_options *o, gr_engine *e)
{
    static char *key;               /* like all options, kept until the process ends */
    int rc = too_small();

    if (!rc && reference && reference_file)
        return cli_usage("--reference and --reference-file are one answer: wanted one of them");
    key = getenv("GRAM_API_KEY");
    if (!rc)
        rc = cli_model_options(&e->options);
    if (!rc && key_file)
        rc = read_text(key_file, "key", &key);
    if (!rc && reference_file)
        rc = read_text(reference_file, "reference answer", &reference);
    if (!rc && reference && !*reference)
        return cli_usage("--reference: wanted an answer, found an empty text");
    if (!rc && reference && gr_utf8_bad(reference, strlen(reference)) < strlen(reference))
        return cli_usage("%s: the reference answer is not UTF-8 at byte %zu", reference_file ? reference_file
                         : "--reference", gr_utf8_bad(reference, strlen(reference)));
    e->options.prefix_cache_bytes = (size_t)(prefix_cache ? prefix_cache : 256) << 20;
    e->options.text_bytes = (size_t)chat_memory << 20;
    *o = (gr_serve_options){
        .host = host, .port = (unsigned short)port, .name = model_name, .key = key && *key ? key : NULL,
        .reference = reference, .max_body = (size_t)max_body, .max_rows = (size_t)max_rows,
        .max_pairs = (size_t)max_pairs, .max_queue = (size_t)max_queue, .max_connections = (size_t)max_connections,
        .max_new_tokens = (size_t)max_new_tokens, .batch_tokens = (size_t)round_tokens, .chat_share = chat_share,
        .timeout = timeout_s,
        .strict_text = strict_text, .log_text = log_text, .quiet = no_log,
    };
    return rc;
}

/* A signal of the set, or 0 after a fifth of a second. */
static int next_signal(const sigset_t *set)
{
    const struct timespec fifth = { 0, 200000000 };
    int sig = sigtimedwait(set, NULL, &fifth);

    return sig > 0 ? sig : 0;
}

static int serve_until_told(gr_serve *s, const sigset_t *signals)
{
    gram_err err;
    struct timespec begin, now;

    while (!next_signal(signals))
        if (gr_serve_get_state(s, &err) == GR_SERVE_FAILED)
            return cli_fail_err(&err);
    gr_serve_drain(s);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (;;) {
        if (gr_serve_in_flight(s) == 0)
            return CLI_DONE;
        if (next_signal(signals))
            _exit(CLI_FAILED);              /* told twice: whatever the model is doing, now */
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec >= drain_s)
            return cli_fail("%zu requests were not finished within %d seconds", gr_serve_in_flight(s), drain_s);
    }
}

/* The judge that comes with gram, its path, its name and a line about it. */
static int use_shipped(gr_engine *e, gr_serve_options *o)
{
    static gram_info i;             /* lends its texts until the process ends */
    gram_err err;

    if (gram_inspect(NULL, &e->options, &i, &err))
        return cli_fail_err(&err);
    if (strlen(i.path) + 1 == sizeof i.path)
        return cli_fail("%s: the path is too long", i.path);
    e->path = i.path;
    o->name = o->name ? o->name : *i.judge ? i.judge : NULL;
    fprintf(stderr, "gram serve: the judge is %s (%s)", *i.judge ? i.judge : "without a name", i.path);
    if (*i.base)
        fprintf(stderr, " over %s", i.base);
    if (i.temperature > 0)
        fprintf(stderr, ", temperature %g", i.temperature);
    fputc('\n', stderr);
    return CLI_DONE;
}

static int run(const char **arg, size_t n)
{
    gr_engine engine = { .path = n ? arg[0] : NULL };
    gr_serve_options o;
    gr_serve *s;
    gram_err err;
    sigset_t signals;
    int rc;

    gr_engine_libgram(&engine);
    rc = read_options(&o, &engine);
    if (!rc && !n)
        rc = use_shipped(&engine, &o);
    if (rc)
        return rc;
    sigemptyset(&signals);                  /* blocked before the first thread starts, so that all inherit it */
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (gr_serve_start(&s, &o, &engine, &err))
        return cli_fail_err(&err);
    fprintf(stderr, "gram serve: http://%s:%u\n", host ? host : "127.0.0.1", gr_serve_port(s));
    rc = serve_until_told(s, &signals);
    gr_serve_stop(s);
    return rc;
}

const cli_command cli_serve = {
    .name = "serve",
    .args = "[MODEL]",
    .summary = "Answer scoring requests over HTTP, and show a page for judging by hand",
    .text = "Listens at once, loads the model, and judges pairs, groups and single responses in its own form and in "
            "those of vLLM, SGLang, TEI, Cohere, Jina, llama.cpp, OpenRLHF, LLaMA-Factory, NeMo Gym and OpenAI's chat "
            "completions; GET /openapi.json lists them all. Requests that arrive together are computed together, and "
            "no score depends on what else is in flight. Without MODEL it is the judge that comes with gram (`gram "
            "fetch`).\n\n"
            "stderr gets one JSON line for each request, without its text. SIGTERM or Ctrl-C: no new requests, what "
            "was accepted is finished; a second one ends at once.",
    .examples = "gram serve\n"
                "gram serve model.gguf\n"
                "gram serve model.gguf --host 0.0.0.0 --key-file key.txt\n"
                "curl http://localhost:8080/v1/score -H 'Content-Type: application/json' \\\n"
                "    -d '{\"prompt\": \"1+1?\", \"a\": \"2\", \"b\": \"3\"}'",
    .min_args = 0,
    .max_args = 1,
    .opts = opts,
    .run = run,
};
