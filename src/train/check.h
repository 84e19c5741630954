/* check.h - gradients against difference quotients, on a user's own model and rows.
 *
 * For each tensor w, and some directions u drawn from the seed, of about a hundredth of the tensor's norm:
 *
 *   p(u)   = g . (w+u - (w-u)) / 2           what the gradient says of the batch's loss, with w+u as float32 has it
 *   d(u)   = (L(w+u) - L(w-u)) / 2           what it does
 *   e      = (8 (d(u/2) - p(u/2)) - (d(u) - p(u))) / 6
 *
 * The cubic term of the loss cancels in e, which is half of what is wrong with g along u, and noise. The noise s of a
 * loss is measured: how far losses stray from what g says when every weight moves by its last bit. So
 *
 *   |e| <= 6 s + 0.001 |p(u/2)| + q          q = ((d(u) - p(u)) - 2 e)^2 / |p(u)|: the size of the next term
 *
 * must hold, and is reported over the size that p(u/2) has on average. Where that allows more than a fiftieth, u is
 * made longer if it is the noise that asks for it, up to 0.16 of the norm, and otherwise shorter, down to 1e-4.
 *
 * B of a new adapter is 0, with which A has no gradient: it is given small values first, drawn from the seed.
 *
 * What dropout leaves out is that of the run's first step throughout, and the hidden units of a reward head that are on
 * at w stay on, and those that are off stay off: the gradient is the slope between two kinks, and u may reach past
 * one. */
#ifndef GR_TRAIN_CHECK_H
#define GR_TRAIN_CHECK_H

#include "train/loop.h"

/* The first batch of the run. Calls opt->check_gradients for each tensor; GRAM_EFORMAT where one does not agree. */
gram_status gr_check_gradients(const gr_training *r, gram_err *err);

#endif
