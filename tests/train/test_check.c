/* test_check.c - the gradient check agrees for every loss, and says so where weights are not those of the gradient. */
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "base/random.h"
#include "check.h"
#include "device.h"
#include "op/op.h"
#include "reward/loss.h"
#include "train/check.h"

#define MODEL "tests/golden/train/qwen2_bias"

struct watch { gr_model *m; size_t seen, wrong, asleep; double loosest; bool spoil; };

/* Spoiled: the last matrix of the model becomes another after the first tensor, so that no gradient fits any more. */
static int on_tensor(void *arg, const gram_gradient_check *c)
{
    struct watch *w = arg;
    size_t n;
    const gr_param *p = gr_model_params(w->m, &n);

    w->wrong += !c->agrees;
    w->asleep += strstr(c->tensor, "lora") && !(c->norm > 0);
    w->loosest = fmax(w->loosest, c->bound);
    if (w->seen++ == 0 && w->spoil)
        for (size_t i = 0; i < n; i++) {
            float *x = strstr(p[i].name, "o_proj") ? check_map(&p[i], false) : NULL;
            for (size_t k = 0; x && k < gr_param_count(&p[i]); k++)
                x[k] *= 1.5f;
            if (x)
                check_unmap(&p[i], false, x, true);
        }
    return 0;
}

static gr_set make_set(gram_loss loss, bool write)
{
    gr_set s = { 0 };
    uint64_t random = 4;

    for (size_t i = 0; i < 3; i++) {
        gr_example e = { .asked = 4, .soft = i == 1 ? 0.7 : 1, .weight = 1 + (double)i, .margin = 0.2 * (double)i };
        int32_t shared[12], id;
        e.target = gr_loss_target(e.soft, loss == GRAM_LOSS_GRAM ? 0.05 : 0);
        for (size_t k = 0; k < 12; k++)
            shared[k] = (int32_t)gr_random_below(&random, 250);
        for (int q = 0; q < (write ? 1 : 2); q++) {
            assert_true(gr_ids_add(&e.seq[q], shared, 12));
            for (size_t k = 0; k < 5 + i; k++) {
                id = (int32_t)gr_random_below(&random, 250);
                assert_true(gr_ids_add(&e.seq[q], &id, 1));
            }
        }
        CHECK_OK(gr_set_add(&s, &e, &check_err));
    }
    return s;
}

static gram_status run(gram_loss loss, bool write, size_t units, size_t rank, struct watch *w)
{
    double smoothing = loss == GRAM_LOSS_GRAM ? 0.05 : 0;
    const gram_train_options o = { .batch_rows = 3, .seed = 1, .check_gradients = on_tensor, .arg = w };
    gr_set set = make_set(loss, write);
    gr_weights *weights;
    gr_config cfg;
    gr_lora *lora = NULL;
    gram_status rc;

    CHECK_OK(gr_weights_open_dir(&weights, MODEL, &check_err));
    CHECK_OK(gr_config_read(&cfg, MODEL, &check_err));
    if (gram_loss_is_scalar(loss)) {
        cfg.reward = loss == GRAM_LOSS_PURM ? GR_REWARD_PURM : GR_REWARD_MEAN;
        cfg.new_head = true;
        cfg.head = gr_head_new(gr_reward_outputs(cfg.reward), units);
        cfg.words = loss == GRAM_LOSS_SFT_REG;
    }
    CHECK_OK(gr_model_open_folded(&w->m, check_device(2), weights, NULL, &cfg, GR_LINEAR_F32,
                                  rank ? GR_MODEL_FIXED : GR_MODEL_WRITABLE, &check_err));
    if (gram_loss_is_scalar(loss))
        CHECK_OK(gr_model_draw_score(w->m, 9, &check_err));
    if (rank)
        CHECK_OK(gr_lora_open(&lora, w->m, &(gr_lora_spec){ .rank = rank, .alpha = 2.0 * (double)rank, .dropout = 0.2,
                                                            .targets = GR_LORA_ALL }, 3, &check_err));
    rc = gr_check_gradients(&(gr_training){ .stage = write ? GRAM_STAGE_PRETRAIN : GRAM_STAGE_FINETUNE, .opt = &o,
                                            .loss = { .kind = loss, .smoothing = smoothing, .order_weight = 1.5,
                                                      .margin_scale = 1, .posreg = 0.1, .sft_weight = 0.01,
                                                      .sft_beta = 0.1 },
                                            .batch_tokens = 60, .model = w->m, .lora = lora,
                                            .device = check_device(2), .train = &set, .label = { 65, 66 } },
                            &check_err);
    gr_lora_close(lora);
    gr_model_close(w->m);
    gr_weights_close(weights);
    gr_set_clear(&set);
    return rc;
}

static void every_loss_agrees(void **state)
{
    (void)state;
    for (int i = GRAM_LOSS_GRAM; i <= GRAM_LOSS_PURM + 2; i++) {
        gram_loss loss = i <= GRAM_LOSS_PURM ? (gram_loss)i : i % 2 ? GRAM_LOSS_BT : GRAM_LOSS_PURM;
        size_t units = i <= GRAM_LOSS_PURM ? 0 : 40;        /* the last two have a hidden layer, full of kinks */
        struct watch w = { 0 };
        gram_status rc = run(loss, false, units, 0, &w);
        if (rc || w.seen < 20 || w.wrong)
            fail_msg("%s: %s", gram_loss_name(loss), rc ? check_err.text : "too few tensors");
    }
    CHECK_OK(run(GRAM_LOSS_GRAM, true, 0, 0, &(struct watch){ 0 }));
}

/* New adapters with dropout: B is 0 in them, and would hide every gradient of A. What is allowed stays small enough for
 * a scale that is left out, such as dropout's 1.25, to be seen. */
static void new_adapters_are_seen_through(void **state)
{
    static const gram_loss loss[] = { GRAM_LOSS_GRAM, GRAM_LOSS_BT };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(loss); i++) {
        struct watch w = { 0 };
        gram_status rc = run(loss[i], false, 0, 4, &w);
        if (rc || w.seen < 20 || w.wrong || w.asleep || w.loosest > 0.1)
            fail_msg("%s: %zu tensors without a gradient, up to %.2g allowed: %s", gram_loss_name(loss[i]), w.asleep,
                     w.loosest, rc ? check_err.text : "");
    }
}

static void another_models_gradient_does_not(void **state)
{
    struct watch w = { .spoil = true };

    (void)state;
    assert_int_equal(run(GRAM_LOSS_BT, false, 0, 0, &w), GRAM_EFORMAT);
    assert_true(w.wrong > w.seen / 4);
    assert_non_null(strstr(check_err.text, "tensors are not the loss's slopes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_loss_agrees),
        cmocka_unit_test(new_adapters_are_seen_through),
        cmocka_unit_test(another_models_gradient_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
