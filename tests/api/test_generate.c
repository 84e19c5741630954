/* test_generate.c - answers through the public calls: n of them are n runs of one, writers side by side write what they
 * write alone, characters of several tokens come out whole, and whatever allocation fails is said and given back. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/api_int.h"
#include "base/utf8.h"
#include "check.h"
#include "gram/generate.h"
#include "letters.h"
#include "nomem_json.h"

static gram_model *model;

static int set_up(void **state)
{
    const gram_options o = { .threads = 2, .judge_prompt = "{input}\n{response_a}\n{response_b}\n" };
    char *dir = check_tmpdir();

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    letters_model(dir);
    CHECK_OK(gram_open(&model, dir, &o, &check_err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gram_close(model);
    return 0;
}

enum { PROMPTS = 7, EACH = 8, NEW = 30 };
static const gram_message asked[PROMPTS] = {
    { .role = "user", .content = "one two" }, { .role = "user", .content = "one three" }, { .role = "user",
                                                                                           .content = "" },
    { .role = "user", .content = "a long prompt of many words that goes on and on" }, { .role = "user",
                                                                                       .content = "x" },
    { .role = "user", .content = "one two" }, { .role = "user", .content = "Zebra" },
};

struct kept {
    char text[4 * NEW];
    int32_t id[NEW];
    float logprob[NEW];
    size_t tokens;
    gram_finish finish;
    uint64_t seed;
    gram_products products;
};
struct all { struct kept a[PROMPTS][EACH]; size_t n, stop_at; };

static int keep(void *arg, const gram_answer *a)
{
    struct all *all = arg;
    struct kept *k = &all->a[a->prompt][a->k];

    *k = (struct kept){ .tokens = a->tokens, .finish = a->finish, .seed = a->seed, .products = a->products };
    assert_true(a->tokens <= NEW && a->bytes < sizeof k->text && a->bytes == strlen(a->text));
    snprintf(k->text, sizeof k->text, "%s", a->text);
    for (size_t t = 0; t < a->tokens; t++) {
        k->id[t] = a->id[t];
        k->logprob[t] = a->logprob[t];
    }
    return ++all->n == all->stop_at;
}

static void prompts_of(gram_prompt *p)
{
    for (size_t i = 0; i < PROMPTS; i++)
        p[i] = (gram_prompt){ .turn = &asked[i], .n = 1 };
}

static void check_runs_of_one(gram_products products)
{
    static struct all all, one;
    gram_prompt p[PROMPTS];
    gram_generation g;
    size_t ended = 0;

    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = NEW;
    g.n = EACH;
    g.seed = 5;
    g.products = products;
    all.n = 0;
    CHECK_OK(gram_generate(model, p, PROMPTS, &g, keep, &all, &check_err));
    assert_int_equal(all.n, PROMPTS * EACH);
    g.n = 1;
    g.speculate = 5;                                        /* which changes nothing */
    for (size_t i = 0; i < PROMPTS; i++)
        for (size_t k = 0; k < EACH; k++) {
            const struct kept *want = &all.a[i][k], *got = &one.a[0][0];
            g.seed = want->seed;
            assert_int_equal(g.seed, 5 + i * EACH + k);
            CHECK_OK(gram_generate(model, &p[i], 1, &g, keep, &one, &check_err));
            assert_memory_equal(got, want, sizeof *got);
            assert_int_equal(got->products, products);
            ended += want->finish == GRAM_FINISH_STOP;
            assert_true(want->finish == GRAM_FINISH_STOP || (want->finish == GRAM_FINISH_LENGTH &&
                                                             want->tokens == NEW));
            for (size_t t = 0; t < want->tokens; t++) {     /* eos of config.json,
                                                       the template's, and two of the list */
                bool end = want->id[t] == 1 || want->id[t] == 2 || want->id[t] == 7 || want->id[t] == 40;
                assert_true(end == (want->finish == GRAM_FINISH_STOP && t + 1 == want->tokens));
            }
        }
    assert_true(ended > 10);
    assert_true(strcmp(all.a[0][0].text, all.a[5][0].text) != 0);      /* the same prompt, other seeds */
}

static void n_answers_are_n_runs_of_one(void **state)
{
    (void)state;
    check_runs_of_one(GRAM_PRODUCTS_FEW);
    check_runs_of_one(GRAM_PRODUCTS_TILES);
}

static int note_products(void *arg, const gram_answer *a)
{
    *(gram_products *)arg = a->products;
    return 1;
}

/* By the answers asked for: one is a few, 96 and more fill a tile. */
static void products_are_chosen_once_for_a_run(void **state)
{
    static const struct { size_t n; gram_products products; } each[] = {
        { 1, GRAM_PRODUCTS_FEW }, { 96, GRAM_PRODUCTS_TILES }, { GRAM_ANSWERS_MOST, GRAM_PRODUCTS_TILES },
    };
    gram_prompt p[PROMPTS];
    gram_generation g;

    (void)state;
    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = 3;
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        gram_products found = GRAM_PRODUCTS_AUTO;
        g.n = each[i].n;
        assert_int_equal(gram_generate(model, p, 1, &g, note_products, &found, &check_err), GRAM_ESTOPPED);
        assert_int_equal(found, each[i].products);
    }
    g.speculate = 17;
    assert_int_equal(gram_generate(model, p, 1, &g, note_products, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "speculate"));
}

static void what_cannot_be_answered_fails_alone(void **state)
{
    static struct all all;
    static char too_long[2000];
    static const gram_message begun[] = { { .role = "user", .content = "x" }, { .role = "assistant", .content = "y" } };
    gram_message m = { .role = "user", .content = too_long };
    gram_prompt p[PROMPTS];
    gram_generation g;

    (void)state;
    memset(too_long, 'a', sizeof too_long - 1);
    prompts_of(p);
    p[2].turn = &m;
    p[4] = (gram_prompt){ .turn = begun, .n = 2 };          /* an answer that is begun is not gone on with */
    gram_generation_init(&g);
    assert_int_equal(gram_generate(model, p, PROMPTS, &g, keep, &all, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "max_new_tokens"));
    g.max_new_tokens = 3;
    g.n = 2;
    CHECK_OK(gram_generate(model, p, PROMPTS, &g, keep, &all, &check_err));
    for (size_t i = 0; i < PROMPTS; i++)
        assert_true((all.a[i][1].finish == GRAM_FINISH_FAILED) == (i == 2 || i == 4));
    all = (struct all){ .stop_at = 4 };
    assert_int_equal(gram_generate(model, p, PROMPTS, &g, keep, &all, &check_err), GRAM_ESTOPPED);
    assert_int_equal(all.n, 4);
    g.n = GRAM_ANSWERS_MOST + 1;
    assert_int_equal(gram_generate(model, p, PROMPTS, &g, keep, &all, &check_err), GRAM_EARG);
}

/* The model in broken/, with a number that is none for the token `id`, where it is read. */
static void break_token(size_t id)
{
    char *path = check_tmppath("broken/model.safetensors");
    const float nan = NAN;
    uint64_t n = 0;
    FILE *f = fopen(path, "r+b");
    char *text;
    json_t *head, *of;
    size_t width;

    assert_non_null(f);
    assert_int_equal(fread(&n, sizeof n, 1, f), 1);
    text = calloc(n + 1, 1);
    assert_true(fread(text, 1, n, f) == n);
    head = json_loads(text, 0, NULL);
    of = json_object_get(head, "model.embed_tokens.weight");
    assert_string_equal(json_string_value(json_object_get(of, "dtype")), "F32");
    width = (size_t)json_integer_value(json_array_get(json_object_get(of, "shape"), 1));
    n += sizeof n + (uint64_t)json_integer_value(json_array_get(json_object_get(of, "data_offsets"), 0));
    assert_true(!fseek(f, (long)(n + id * width * sizeof nan), SEEK_SET) && fwrite(&nan, sizeof nan, 1, f) == 1);
    fclose(f);
    json_decref(head);
    free(text), free(path);
}

/* Broken weights break the texts that read them, in words; the others are written. */
static void a_logit_that_is_no_number_fails_alone(void **state)
{
    const gram_options o = { .threads = 1, .judge_prompt = "{input}\n{response_a}\n{response_b}\n" };
    static struct all all;
    char *dir = check_tmppath("broken");
    gram_prompt p[PROMPTS];
    gram_generation g;
    gram_model *m;

    (void)state;
    assert_int_equal(mkdir(dir, 0700), 0);
    letters_model_of(dir, "llama_mha");                 /* whose words to write are others than those to read */
    break_token(60);                                    /* Z */
    CHECK_OK(gram_open(&m, dir, &o, &check_err));
    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = 1;
    CHECK_OK(gram_generate(m, p, PROMPTS, &g, keep, &all, &check_err));
    for (size_t i = 0; i < PROMPTS; i++)
        assert_true((all.a[i][0].finish == GRAM_FINISH_FAILED) == !strcmp(asked[i].content, "Zebra"));
    gram_close(m);
    free(dir);
}

/* ---- Token by token ---- */

enum { WRITERS = 5, OF_EACH = 8 };

/* What a writer's answers came to. */
struct heard {
    char text[OF_EACH][4 * NEW];            /* as it was shown */
    char bytes[OF_EACH][4 * NEW];           /* of the tokens */
    float logprob[OF_EACH][NEW];
    size_t tokens[OF_EACH];
    gram_finish finish[OF_EACH];
};

static gram_status hear(void *arg, const gram_written *t, gram_err *err)
{
    struct heard *h = arg;

    (void)err;
    assert_true(t->k < OF_EACH && h->tokens[t->k] < NEW);
    assert_int_equal(gr_utf8_bad(t->more, t->more_bytes), t->more_bytes);
    memcpy(h->text[t->k] + strlen(h->text[t->k]), t->more, t->more_bytes);
    memcpy(h->bytes[t->k] + strlen(h->bytes[t->k]), t->text, t->bytes);
    h->logprob[t->k][h->tokens[t->k]++] = t->logprob;
    assert_true(t->logprob <= 0 && (t->n_top == 0 || t->top[0].logprob >= t->logprob));
    assert_true(t->n_top < 2 || t->top[0].logprob >= t->top[1].logprob);
    assert_true(!t->by_end || (t->ended && t->bytes == 0));
    if (t->ended)
        h->finish[t->k] = t->finish;
    return GRAM_OK;
}

static gram_generation how_of(size_t i)
{
    static const char *const stop[] = { "t", "\xc3\xbc", "Zz" };
    gram_generation g;

    gram_generation_init(&g);
    g.temperature = 0.8;
    g.seed = 10 * i;
    g.n = 1 + i % 3;
    g.max_new_tokens = NEW - 3 * (i == 2);
    g.repetition_penalty = i % 2 ? 1.2 : 1;
    g.stop = stop;
    g.n_stop = i == 4 ? 3 : 0;
    g.products = GRAM_PRODUCTS_FEW;
    return g;
}

/* Writers from .. to - 1, one of which is asked late, until all have ended. Steps of the engine. */
static uint64_t write_texts(gram_model *m, size_t from, size_t to, struct heard *heard)
{
    gram_prompt p[PROMPTS];
    gram_writer *w[WRITERS] = { NULL };
    uint64_t before = m->chat_steps;
    size_t open = to - from;

    prompts_of(p);
    for (size_t i = from; i < to; i++) {
        const gram_generation g = how_of(i);
        CHECK_OK(gram_writer_open(&w[i], m, &(gram_writing){ .prompt = p[i], .how = &g, .top = i % 3 }, &check_err));
        assert_true(gram_writer_prompt_tokens(w[i]) > 3);
    }
    for (size_t step = 0; open; step++)
        for (size_t i = from; i < to; i++) {
            bool more;
            if (!w[i] || (to - from > 1 && i == 3 && step < 7))
                continue;
            CHECK_OK(gram_writer_next(w[i], hear, &heard[i], &more, &check_err));
            if (more)
                continue;
            gram_writer_close(w[i]);
            w[i] = NULL;
            open--;
        }
    return m->chat_steps - before;
}

/* And that is what gram_generate() writes. */
static void writers_side_by_side_write_what_they_write_alone(void **state)
{
    static struct heard alone[WRITERS], together[WRITERS];
    static struct all all;
    gram_prompt p[PROMPTS];
    bool stopped = false;

    (void)state;
    prompts_of(p);
    for (size_t i = 0; i < WRITERS; i++)
        write_texts(model, i, i + 1, alone);
    assert_true(write_texts(model, 0, WRITERS, together) <= NEW + 8);      /* they share their steps */
    assert_memory_equal(alone, together, sizeof alone);
    for (size_t i = 0; i < WRITERS; i++) {
        const gram_generation g = how_of(i);
        CHECK_OK(gram_generate(model, &p[i], 1, &g, keep, &all, &check_err));
        for (size_t k = 0; k < g.n; k++) {
            const struct kept *want = &all.a[0][k];
            assert_string_equal(alone[i].text[k], want->text);
            assert_int_equal(alone[i].tokens[k], want->tokens);
            assert_int_equal(alone[i].finish[k], want->finish);
            assert_memory_equal(alone[i].logprob[k], want->logprob, want->tokens * sizeof *want->logprob);
            stopped = stopped || want->finish == GRAM_FINISH_STOP_STRING;
        }
    }
    assert_true(stopped);
}

/* The tokens of a rendered conversation write what the conversation does. */
static void tokens_are_gone_on_with_as_they_are(void **state)
{
    static struct heard chat, ids;
    gram_prompt p[PROMPTS];
    gram_tokenizer *t;
    const gram_generation g = how_of(0);
    gram_writer *w;
    int32_t *id;
    char *text;
    size_t n;

    (void)state;
    prompts_of(p);
    CHECK_OK(gram_tokenizer_open(&t, check_tmpdir(), &check_err));
    CHECK_OK(gram_show_chat(model, p[0], &text, &check_err));
    CHECK_OK(gram_tokenize_prompt(t, text, strlen(text), &id, &n, &check_err));
    write_texts(model, 0, 1, &chat);
    CHECK_OK(gram_writer_open(&w, model, &(gram_writing){ .id = id, .n_ids = n, .how = &g }, &check_err));
    for (bool more = true; more; )
        CHECK_OK(gram_writer_next(w, hear, &ids, &more, &check_err));
    gram_writer_close(w);
    assert_memory_equal(&chat, &ids, sizeof chat);
    assert_int_equal(gram_writer_open(&w, model, &(gram_writing){ .id = id, .n_ids = 0, .how = &g }, &check_err),
                     GRAM_EARG);
    free(id);
    free(text);
    gram_tokenizer_close(t);
}

static void a_prompt_is_read_once_for_all_its_answers(void **state)
{
    gram_prompt p[PROMPTS];
    gram_generation g;
    gram_writer *w;
    size_t bytes[2];
    bool more;

    (void)state;
    prompts_of(p);
    for (size_t i = 0; i < 2; i++) {
        gram_generation_init(&g);
        g.max_new_tokens = 2;
        g.min_new_tokens = 2;
        g.n = i ? 8 : 1;
        CHECK_OK(gram_writer_open(&w, model, &(gram_writing){ .prompt = p[3], .how = &g }, &check_err));
        assert_true(gram_writer_prompt_tokens(w) > 2 * GR_PAGE);
        for (more = true; more; )
            CHECK_OK(gram_writer_next(w, hear, &(struct heard){ 0 }, &more, &check_err));
        bytes[i] = gr_kv_bytes(model->chats_kv);
        gram_writer_close(w);
    }
    assert_true(bytes[1] <= bytes[0] + 8 * gr_page_bytes(gr_kv_pages(model->chats_kv)));
}

static void writers_that_would_take_too_much_are_refused(void **state)
{
    gram_prompt p[PROMPTS];
    gram_model *m;
    gram_writer *a, *b;
    const gram_options o = { .threads = 1, .judge_prompt = "{input}\n{response_a}\n{response_b}\n",
                             .text_bytes = 100 * 3 * 2 * 2 * 8 * sizeof(float) };      /* a hundred tokens */
    gram_generation g;
    gram_writing w = { .how = &g };

    (void)state;
    prompts_of(p);
    gram_generation_init(&g);
    CHECK_OK(gram_open(&m, check_tmpdir(), &o, &check_err));
    w.prompt = p[0];
    g.max_new_tokens = 40;
    CHECK_OK(gram_writer_open(&a, m, &w, &check_err));
    g.max_new_tokens = 1000;
    assert_int_equal(gram_writer_open(&b, m, &w, &check_err), GRAM_ELIMIT);
    g.max_new_tokens = 40;
    g.n = 4;
    assert_int_equal(gram_writer_open(&b, m, &w, &check_err), GRAM_ELIMIT);
    g.n = 1;
    CHECK_OK(gram_writer_open(&b, m, &w, &check_err));      /* it waits where there is no room */
    gram_writer_close(b);
    gram_writer_close(a);
    gram_close(m);
}

/* ---- Turns ---- */

struct turns { size_t asked, taken, tokens; gram_writer *w; bool more; struct heard heard; };

static bool is_writing(void *arg)
{
    return ((struct turns *)arg)->w != NULL;
}

static bool often(void *arg)
{
    struct turns *t = arg;

    return t->w && ++t->asked % 3 == 0;
}

static void write_one(void *arg)
{
    struct turns *t = arg;

    t->taken++;
    CHECK_OK(gram_writer_next(t->w, hear, &t->heard, &t->more, &check_err));
    if (!t->more) {
        gram_writer_close(t->w);
        t->w = NULL;
    }
}

/* A text is written in the middle of a batch, and neither has other bits than alone. */
static void check_turns(bool (*beside)(void *arg))
{
    enum { PAIRS = 40 };
    static char a[PAIRS][200], b[PAIRS][200];
    static struct heard alone;
    const gram_generation g = how_of(0);
    gram_pair pair[PAIRS];
    gram_verdict want[PAIRS], got[PAIRS];
    gram_prompt p[PROMPTS];
    struct turns t = { .more = true };

    prompts_of(p);
    for (size_t i = 0; i < PAIRS; i++) {
        for (size_t k = 0; k < 190; k++) {
            a[i][k] = "abc de"[(k * (i + 3) / 7) % 6];
            b[i][k] = "fgh ij"[(k * (i + 5) / 9) % 6];
        }
        pair[i] = (gram_pair){ .prompt = p[i % PROMPTS], .a = a[i], .b = b[i] };
    }
    CHECK_OK(gram_score(model, pair, PAIRS, want, &check_err));
    memset(&alone, 0, sizeof alone);
    write_texts(model, 0, 1, &alone);
    CHECK_OK(gram_writer_open(&t.w, model, &(gram_writing){ .prompt = p[0], .how = &g }, &check_err));
    gram_set_turns(model, &(gram_turns){ often, is_writing, write_one, &t, beside });
    CHECK_OK(gram_score(model, pair, PAIRS, got, &check_err));
    gram_set_turns(model, NULL);
    assert_true(beside || !t.more);         /* all of the text, inside of one call */
    assert_true(t.taken >= (beside ? 1 : 10));
    while (t.more)
        write_one(&t);
    assert_memory_equal(&t.heard, &alone, sizeof alone);
    for (size_t i = 0; i < PAIRS; i++)
        assert_memory_equal(got[i].logit, want[i].logit, sizeof got[i].logit);
}

static void texts_have_their_turns_inside_of_a_batch(void **state)
{
    (void)state;
    check_turns(NULL);
}

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static void texts_are_written_beside_a_batch(void **state)
{
    (void)state;
    check_turns(always);
}

/* ---- Threads ---- */

/* What a thread asks of the model, again and again, and whether it was the same each time. */
struct asker { gram_products products; const gram_pair *pair; gram_verdict verdict; struct all want; bool ok; };

static int keep_quietly(void *arg, const gram_answer *a)
{
    struct kept *k = &((struct all *)arg)->a[a->prompt][a->k];

    k->tokens = a->tokens;
    memcpy(k->id, a->id, gr_min(a->tokens, NEW) * sizeof *k->id);
    memcpy(k->logprob, a->logprob, gr_min(a->tokens, NEW) * sizeof *k->logprob);
    return 0;
}

static bool ask_once(const struct asker *a, struct all *all, gram_verdict *v)
{
    gram_prompt p[PROMPTS];
    gram_generation g;

    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = 3;
    g.products = a->products;
    return a->pair ? !gram_score(model, a->pair, 1, v, NULL)
                   : !gram_generate(model, p, PROMPTS, &g, keep_quietly, all, NULL);
}

static void *ask_again(void *arg)
{
    enum { TIMES = 60 };
    struct asker *a = arg;
    struct all *all = calloc(1, sizeof *all);
    gram_verdict v = { 0 };

    for (size_t i = 0; i < TIMES && a->ok && all; i++)
        a->ok = ask_once(a, all, &v) && !memcmp(all, &a->want, sizeof *all) &&
                !memcmp(v.logit, a->verdict.logit, sizeof v.logit);
    a->ok = a->ok && all;
    free(all);
    return NULL;
}

/* Whoever opens an engine to write waits for whoever computes: both would use the model's threads and its weights. */
static void threads_that_write_and_score_have_their_bits(void **state)
{
    enum { ASKERS = 4 };
    static struct asker ask[ASKERS];
    const gram_pair pair = { .prompt = { .turn = &asked[0], .n = 1 }, .a = "yes it is so", .b = "no" };
    pthread_t thread[ASKERS];

    (void)state;
    for (size_t i = 0; i < ASKERS; i++) {
        ask[i] = (struct asker){ .products = i == 1 ? GRAM_PRODUCTS_FEW : GRAM_PRODUCTS_TILES, .ok = true,
                                 .pair = i == 0 ? &pair : NULL };
        assert_true(ask_once(&ask[i], &ask[i].want, &ask[i].verdict));
    }
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, ask_again, &ask[i]), 0);
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (size_t i = 0; i < ASKERS; i++)
        assert_true(ask[i].ok);
}

/* ---- Files ---- */

static char *slurp(const char *path)
{
    gr_buf b = { 0 };
    char block[4096];
    FILE *f = fopen(path, "rb");
    size_t n;

    assert_non_null(f);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        assert_true(gr_buf_add(&b, block, n));
    fclose(f);
    return b.p;
}

static int stop_late(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return ++*(int *)arg == 2;
}

static const char rows[] =
    "{\"id\":\"a\",\"prompt\":\"one\"}\n"
    "{\"prompt\":[{\"role\":\"system\",\"content\":\"be kind\"},{\"role\":\"user\",\"content\":\"two\"}]}\n"
    "{\"chosen\":[{\"role\":\"user\",\"content\":\"three\"},{\"role\":\"assistant\",\"content\":\"x\"}],"
    "\"rejected\":[{\"role\":\"user\",\"content\":\"three\"},{\"role\":\"assistant\",\"content\":\"y\"}]}\n"
    "{\"id\":\"bad\",\"prompt\":7}\n"
    "{\"id\":\"b\",\"prompt\":\"four\"}\n";

/* What cannot be answered is counted of the lines of the run before, too. */
static void a_resume_tells_of_all_rows(void **state)
{
    gram_generation g;
    gram_generate_report r;
    char *in, *out = check_tmppath("told.jsonl");
    int calls = 0;
    gram_file_options o = { .progress = stop_late, .arg = &calls };
    gr_buf b = { 0 };

    (void)state;
    for (int i = 0; i < 4; i++) {                       /* the first and the last are longer than all that is read */
        assert_true(gr_buf_puts(&b, "{\"prompt\":\"ab"));
        for (size_t k = 0; i % 3 == 0 && k < 9000; k++)
            assert_true(gr_buf_puts(&b, "a"));
        assert_true(gr_buf_puts(&b, "\"}\n"));
    }
    in = check_write("told.in.jsonl", b.p);
    gram_generation_init(&g);
    g.max_new_tokens = 2;
    assert_int_equal(gram_generate_file(model, in, out, &g, false, &o, &r, &check_err), GRAM_ESTOPPED);
    assert_int_equal(r.failed, 1);
    o = (gram_file_options){ .resume = true };
    CHECK_OK(gram_generate_file(model, in, out, &g, false, &o, &r, &check_err));
    assert_true(r.file.resumed >= 1 && r.file.resumed < 4 && r.file.rows == 4 && r.failed == 2);
    gr_buf_clear(&b);
    free(in);
    free(out);
}

/* The same bytes unbroken, and stopped after two lines and resumed; rows and seeds as documented. */
static void a_run_that_was_stopped_ends_with_the_same_bytes(void **state)
{
    gram_generation g;
    gram_generate_report r;
    char *in = check_write("prompts.jsonl", rows), *whole = check_tmppath("whole.jsonl");
    char *parts = check_tmppath("parts.jsonl"), *a, *b, *line;
    int calls = 0;
    gram_file_options o = { .skip_bad = true, .progress = stop_late, .arg = &calls };

    (void)state;
    gram_generation_init(&g);
    g.max_new_tokens = 12;
    g.n = 3;
    g.seed = 100;
    assert_int_equal(gram_generate_file(model, in, whole, &g, true, NULL, &r, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, ":4"));
    CHECK_OK(gram_generate_file(model, in, whole, &g, true, &(gram_file_options){ .skip_bad = true }, &r, &check_err));
    assert_true(r.file.rows == 4 && r.file.bad == 1 && r.answers == 12 && r.failed == 0);
    assert_int_equal(gram_generate_file(model, in, parts, &g, true, &o, &r, &check_err), GRAM_ESTOPPED);
    o.resume = true;
    o.progress = NULL;
    CHECK_OK(gram_generate_file(model, in, parts, &g, true, &o, &r, &check_err));
    assert_true(r.file.resumed >= 2 && r.file.rows == 4);
    a = slurp(whole);
    b = slurp(parts);
    assert_string_equal(a, b);
    line = a;
    for (size_t i = 0; i < 4; i++) {
        static const char *const id[] = { "a", NULL, NULL, "b" };
        json_t *j = json_loadb(line, strcspn(line, "\n"), 0, NULL), *seed = json_object_get(j, "seed");
        assert_non_null(j);
        assert_true(!id[i] || !strcmp(json_string_value(json_object_get(j, "id")), id[i]));
        assert_int_equal(json_array_size(json_object_get(j, "responses")), 3);
        for (size_t k = 0; k < 3; k++) {
            json_t *list = json_array_get(json_object_get(j, "logprobs"), k);
            double sum = json_number_value(json_array_get(json_object_get(j, "logprob"), k));
            size_t tokens = (size_t)json_integer_value(json_array_get(json_object_get(j, "tokens"), k));
            assert_int_equal(json_integer_value(json_array_get(seed, k)), 100 + 3 * i + k);
            assert_int_equal(json_array_size(list), tokens);
            for (size_t t = 0; t < tokens; t++)
                sum -= json_number_value(json_array_get(list, t));
            assert_true(fabs(sum) < 1e-9);
        }
        assert_true(json_is_array(json_object_get(j, "prompt")) == (i == 1));
        json_decref(j);
        line += strcspn(line, "\n") + 1;
    }
    free(a);
    free(b);
    free(in);
    free(whole);
    free(parts);
}

/* A run that goes on counts the answers that are there, and so takes the way that it took. */
static void a_resumed_run_takes_the_way_that_it_took(void **state)
{
    gram_generation g;
    gram_generate_report r;
    char *in = check_write("many.jsonl", rows), *whole = check_tmppath("many-whole.jsonl");
    char *parts = check_tmppath("many-parts.jsonl"), *a, *b;
    int calls = 0;
    gram_file_options o = { .skip_bad = true, .progress = stop_late, .arg = &calls };

    (void)state;
    gram_generation_init(&g);
    g.max_new_tokens = 4;
    g.n = 24;                                       /* the last row's alone would be few */
    CHECK_OK(gram_generate_file(model, in, whole, &g, true, &(gram_file_options){ .skip_bad = true }, &r, &check_err));
    assert_int_equal(r.products, GRAM_PRODUCTS_TILES);
    assert_int_equal(gram_generate_file(model, in, parts, &g, true, &o, &r, &check_err), GRAM_ESTOPPED);
    o.resume = true;
    o.progress = NULL;
    CHECK_OK(gram_generate_file(model, in, parts, &g, true, &o, &r, &check_err));
    assert_true(r.file.resumed >= 2 && r.file.resumed < 4 && r.products == GRAM_PRODUCTS_TILES);
    a = slurp(whole);
    b = slurp(parts);
    assert_string_equal(a, b);
    assert_non_null(strstr(a, "\"products\":\"tiles\""));
    free(a);
    free(b);
    free(in);
    free(whole);
    free(parts);
}

static void expect_other(const char *in, const char *out, const gram_generation *g, const char *say)
{
    const gram_file_options o = { .resume = true };

    assert_int_equal(gram_generate_file(model, in, out, g, true, &o, NULL, &check_err), GRAM_EARG);
    if (!strstr(check_err.text, say))
        fail_msg("said \"%s\", wanted \"%s\"", check_err.text, say);
}

/* Lines of other settings or of another input are not gone on with, and those that are may hold any character. */
static void what_is_resumed_is_what_was_asked(void **state)
{
    static const char two[] = "{\"id\":\"a\",\"prompt\":\"one\"}\n{\"id\":\"b\",\"prompt\":\"two\"}\n";
    char *in = check_write("two.jsonl", two), *out = check_tmppath("asked.jsonl"), *b;
    char *other = check_write("other.jsonl", "{\"id\":\"a\",\"prompt\":\"eins\"}\n");
    char *begun = check_write("asked.jsonl.partial", ""), *run = check_tmppath("asked.jsonl.how"), *said;
    int calls = 1;
    gram_file_options o = { .progress = stop_late, .arg = &calls };
    gram_generation g;

    (void)state;
    gram_generation_init(&g);
    g.max_new_tokens = 5;
    assert_int_equal(gram_generate_file(model, in, out, &g, true, &o, NULL, &check_err), GRAM_ESTOPPED);
    said = slurp(run);
    free(check_write("asked.jsonl.partial", "{\"id\":\"a\",\"prompt\":\"one\",\"completion\":\"\\u0000\"}\n"));
    g.temperature = 0.5;
    expect_other(in, out, &g, "has temperature 1.0, and this one 0.5");
    g.temperature = 1;
    g.stop = (const char *const[]){ "x" };
    g.n_stop = 1;
    expect_other(in, out, &g, "has stop []");
    g.n_stop = 0;
    expect_other(other, out, &g, "row a says something else than when line 1");
    o = (gram_file_options){ .resume = true };
    CHECK_OK(gram_generate_file(model, in, out, &g, true, &o, NULL, &check_err));
    b = slurp(out);
    assert_non_null(strstr(b, "\\u0000\"}\n{\"id\":\"b\""));
    free(said);
    said = slurp(run);
    assert_non_null(strstr(said, "\"whole\": \""));
    free(b), free(in), free(out), free(other), free(begun), free(run), free(said);
}

static void settings_come_from_a_config_only_when_asked(void **state)
{
    static const char good[] = "{\"do_sample\":true,\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,"
                               "\"eos_token_id\":[7,40]}", greedy[] = "{\"temperature\":0.6}",
                      plain[] = "{\"do_sample\":true,\"num_beams\":1,\"min_length\":0,\"max_length\":4096,"
                                "\"bad_words_ids\":[],\"num_return_sequences\":3,\"use_cache\":false}";
    static const char *const refused[][2] = {
        { "{\"num_beams\":4}", "num_beams" }, { "{\"top_k\":\"many\"}", "top_k: wanted" },
        { "{\"do_sample\":\"true\"}", "do_sample: wanted" }, { "{\"min_length\":5}", "min_length" },
        { "{\"presence_penalty\":1.5}", "presence_penalty" }, { "{\"new_penalty\":1}", "new_penalty" },
        { "{\"token_healing\":true}", "token_healing" },
    };
    char *dir = check_tmpdir(), *said, *kept, path[300];
    gram_generation g;

    (void)state;
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    kept = slurp(path);
    letters_put(dir, "generation_config.json", good, strlen(good));
    gram_generation_init(&g);
    assert_true(g.temperature == 1 && g.top_k == 0 && g.top_p == 1);
    CHECK_OK(gram_generation_from_config(&g, dir, &said, &check_err));
    assert_true(g.temperature == 0.6 && g.top_k == 20 && g.top_p == 0.95 && strstr(said, "top_k 20"));
    free(said);
    letters_put(dir, "generation_config.json", greedy, strlen(greedy));
    CHECK_OK(gram_generation_from_config(&g, dir, &said, &check_err));
    assert_true(g.temperature == 0 && strstr(said, "greedy"));
    free(said);
    letters_put(dir, "generation_config.json", plain, strlen(plain));
    gram_generation_init(&g);
    CHECK_OK(gram_generation_from_config(&g, dir, &said, &check_err));
    assert_true(g.temperature == 1 && g.top_k == 50 && strstr(said, "top_k 50 (transformers'") &&
                strstr(said, "not max_length") && strstr(said, "not num_return_sequences"));
    free(said);
    for (size_t i = 0; i < GR_COUNT(refused); i++) {
        letters_put(dir, "generation_config.json", refused[i][0], strlen(refused[i][0]));
        assert_int_not_equal(gram_generation_from_config(&g, dir, &said, &check_err), GRAM_OK);
        if (!strstr(check_err.text, refused[i][1]))
            fail_msg("said \"%s\" of %s", check_err.text, refused[i][0]);
    }
    letters_put(dir, "generation_config.json", kept, strlen(kept));
    free(kept);
}

/* A text holds no special token, so that one among the stop strings would never be found; it is an end. An id that is
 * no token would never come. */
static void special_tokens_stop(void **state)
{
    static struct all by_id, by_text;
    gram_prompt p[PROMPTS];
    gram_generation g;
    gram_writer *w;
    size_t ended = 0;

    (void)state;
    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = NEW;
    g.n = EACH;
    g.stop_ids = (const int32_t[]){ 0 };
    g.n_stop_ids = 1;
    by_id.n = by_text.n = 0;
    CHECK_OK(gram_generate(model, p, PROMPTS, &g, keep, &by_id, &check_err));
    g.stop = (const char *const[]){ "<|im_start|>", "<|im_end|>" };
    g.n_stop = 2;
    g.n_stop_ids = 0;
    CHECK_OK(gram_generate(model, p, PROMPTS, &g, keep, &by_text, &check_err));
    assert_memory_equal(&by_id, &by_text, sizeof by_id);
    for (size_t i = 0; i < PROMPTS * EACH; i++) {
        const struct kept *k = &by_id.a[i / EACH][i % EACH];
        ended += k->finish == GRAM_FINISH_STOP && k->id[k->tokens - 1] == 0;
    }
    assert_true(ended > 0);
    g.stop_ids = (const int32_t[]){ 3, (int32_t)gram_vocabulary(model) };
    g.n_stop_ids = 2;
    assert_int_equal(gram_generate(model, p, 1, &g, keep, &by_id, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "is no token of this model"));
    assert_int_equal(gram_writer_open(&w, model, &(gram_writing){ .prompt = p[0], .how = &g }, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "is no token of this model"));
    g.stop = (const char *const[]){ "<|im_start|>", NULL };
    assert_int_equal(gram_generate(model, p, 1, &g, keep, &by_id, &check_err), GRAM_EARG);
    assert_string_equal(check_err.text, "stop: string 1: wanted a text, found NULL");
}

/* ---- Memory that runs out ---- */

static int count(void *arg, const gram_answer *a)
{
    (void)a;
    ++*(size_t *)arg;
    return 0;
}

static gram_status generate_some(gram_err *err)
{
    gram_prompt p[PROMPTS];
    gram_generation g;
    size_t n = 0;

    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = 4;
    g.n = 2;
    g.stop = (const char *const[]){ "zz" };
    g.n_stop = 1;
    g.stop_ids = (const int32_t[]){ 30 };
    g.n_stop_ids = 1;
    g.speculate = 2;
    return gram_generate(model, p, 3, &g, count, &n, err);
}

static char *some, *some_out;           /* files */

static gram_status generate_to_a_file(gram_err *err)
{
    gram_generation g;

    unlink(some_out);
    gram_generation_init(&g);
    g.max_new_tokens = 3;
    g.n = 2;
    return gram_generate_file(model, some, some_out, &g, true, &(gram_file_options){ .skip_bad = true }, NULL, err);
}

static gram_status write_some(gram_err *err)
{
    static const char *const stop[] = { "never", "at all" };
    gram_prompt p[PROMPTS];
    gram_generation g;
    gram_writer *w;
    bool more = true;
    gram_status rc;

    prompts_of(p);
    gram_generation_init(&g);
    g.max_new_tokens = 5;
    g.n = 2;
    g.stop = stop;
    g.n_stop = 2;
    rc = gram_writer_open(&w, model, &(gram_writing){ .prompt = p[0], .how = &g, .top = 2 }, err);
    while (!rc && more)
        rc = gram_writer_next(w, hear, &(struct heard){ 0 }, &more, err);
    gram_writer_close(w);
    return rc;
}

static void every_failing_allocation_is_said_and_given_back(void **state)
{
    gram_status (*const call[])(gram_err *err) = { generate_some, write_some, generate_to_a_file };

    (void)state;
    some = check_write("some.jsonl", rows);
    some_out = check_tmppath("some.out.jsonl");
    for (size_t i = 0; i < GR_COUNT(call); i++) {
        long before;
        bool failed = NOMEM_COUNTED;
        CHECK_OK(call[i](&check_err));
        before = nomem_live;
        for (long n = 0; failed; n++) {
            gram_err err = { 0 };
            gram_status rc;
            nomem_left = n;
            rc = call[i](&err);
            failed = nomem_left < 0;
            nomem_left = -1;
            if (rc && (rc != GRAM_ENOMEM || !strstr(err.text, "out of memory")))
                fail_msg("call %zu, allocation %ld: %s", i, n, err.text);
            CHECK_OK(call[i](&check_err));
            if (nomem_live != before)
                fail_msg("call %zu, allocation %ld: %ld not given back", i, n, nomem_live - before);
        }
    }
    free(some);
    free(some_out);
}

/* Its answers with the fails-th allocation behind the opening failing; whether there were so many. */
static bool write_on(long fails, struct heard *heard)
{
    gram_prompt p[PROMPTS];
    gram_generation g = how_of(1);
    gram_writer *w;
    bool failed = false, met;

    prompts_of(p);
    g.max_new_tokens = 5;
    CHECK_OK(gram_writer_open(&w, model, &(gram_writing){ .prompt = p[4], .how = &g, .top = 2 }, &check_err));
    nomem_left = fails;
    for (bool more = true; more; ) {
        gram_status rc = gram_writer_next(w, hear, heard, &more, &check_err);
        assert_true(!rc || (rc == GRAM_ENOMEM && more && !failed));
        failed = failed || rc;
    }
    met = nomem_left < 0;
    nomem_left = -1;
    gram_writer_close(w);
    return met;
}

/* No token is passed over, and none told twice. */
static void a_writer_goes_on_after_a_failure(void **state)
{
    static struct heard whole, heard;

    (void)state;
    write_on(-1, &whole);
    for (long n = 0; NOMEM_COUNTED; n++) {
        memset(&heard, 0, sizeof heard);
        if (!write_on(n, &heard))
            break;
        if (memcmp(&heard, &whole, sizeof whole))
            fail_msg("allocation %ld: %zu and %zu tokens, or others, wanted %zu and %zu", n, heard.tokens[0],
                     heard.tokens[1], whole.tokens[0], whole.tokens[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(n_answers_are_n_runs_of_one),
        cmocka_unit_test(products_are_chosen_once_for_a_run),
        cmocka_unit_test(what_cannot_be_answered_fails_alone),
        cmocka_unit_test(a_logit_that_is_no_number_fails_alone),
        cmocka_unit_test(writers_side_by_side_write_what_they_write_alone),
        cmocka_unit_test(tokens_are_gone_on_with_as_they_are),
        cmocka_unit_test(a_prompt_is_read_once_for_all_its_answers),
        cmocka_unit_test(texts_have_their_turns_inside_of_a_batch),
        cmocka_unit_test(texts_are_written_beside_a_batch),
        cmocka_unit_test(writers_that_would_take_too_much_are_refused),
        cmocka_unit_test(threads_that_write_and_score_have_their_bits),
        cmocka_unit_test(a_run_that_was_stopped_ends_with_the_same_bytes),
        cmocka_unit_test(a_resume_tells_of_all_rows),
        cmocka_unit_test(a_resumed_run_takes_the_way_that_it_took),
        cmocka_unit_test(settings_come_from_a_config_only_when_asked),
        cmocka_unit_test(special_tokens_stop),
        cmocka_unit_test(what_is_resumed_is_what_was_asked),
        cmocka_unit_test(every_failing_allocation_is_said_and_given_back),
        cmocka_unit_test(a_writer_goes_on_after_a_failure),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
