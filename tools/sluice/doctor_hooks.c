// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who else sits at the hooks, in which order, and whether our own links still
 * lead somewhere. Called by `sluice doctor`.
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "doctor.h"
#include "pins.h"
#include "strbuf.h"
#include "xdp.h"

/* ---- others at the hooks -------------------------------------------------------- */

static bool is_watched(const struct doctor *doctor, const struct route_link *link)
{
	return doctor_is_link(doctor, link, DOCTOR_UPLINK) ||
	       doctor_is_link(doctor, link, DOCTOR_POD);
}

static bool is_same_program(const struct doctor_hook *a, const struct doctor_hook *b)
{
	return a->egress == b->egress && a->tcx == b->tcx && a->ours == b->ours &&
	       !strcmp(a->name, b->name);
}

/* How many watched interfaces have this program; 0 when an earlier hook was counted for it. */
static unsigned count_program(const struct doctor *doctor, size_t first)
{
	unsigned n = 0;

	for (size_t i = 0; i < doctor->n_hooks; i++) {
		const struct doctor_hook *hook = &doctor->hooks[i];

		if (!is_same_program(hook, &doctor->hooks[first]) ||
		    !is_watched(doctor, hook->link))
			continue;
		if (i < first)
			return 0;
		n++;
	}
	return n;
}

static void check_others(struct doctor *doctor)
{
	struct strbuf others = {};
	unsigned n;

	for (size_t i = 0; i < doctor->n_hooks; i++) {
		const struct doctor_hook *hook = &doctor->hooks[i];

		if (hook->ours || !is_watched(doctor, hook->link))
			continue;
		n = count_program(doctor, i);
		if (!n)
			continue;
		strbuf_addf(&others, "%s%s (%s %s of %u)", others.len ? ", " : "", hook->name,
			    hook->tcx ? "tcx" : "clsact", hook->egress ? "egress" : "ingress", n);
	}
	if (!others.len)
		doctor_row(doctor, "other_programs", DOCTOR_OK, NULL, "none at our hooks");
	else
		doctor_row(doctor, "other_programs", DOCTOR_INFO,
			   "they see packets after us at ingress, before us at egress, but for "
			   "those of clsact where we are at tcx: always after us",
			   "%s", others.data);
	strbuf_done(&others);
}

/* ---- others at egress ------------------------------------------------------------- */

/* How somebody else's program at an egress where ours is stands to ours. */
enum egress_place { EGRESS_NONE, EGRESS_BEFORE, EGRESS_CLSACT_AFTER };

static enum egress_place egress_place(const struct doctor *doctor, size_t at)
{
	const struct doctor_hook *hook = &doctor->hooks[at], *ours;

	for (size_t i = 0; i < doctor->n_hooks && !hook->ours && hook->egress; i++) {
		ours = &doctor->hooks[i];
		if (!ours->ours || !ours->egress || ours->link != hook->link)
			continue;
		if (ours->tcx != hook->tcx)
			return ours->tcx ? EGRESS_CLSACT_AFTER : EGRESS_BEFORE;
		return at < i ? EGRESS_BEFORE : EGRESS_NONE;
	}
	return EGRESS_NONE;
}

/* "NAME (egress of N), ..." of those in that place. */
static void list_egress(const struct doctor *doctor, enum egress_place place, struct strbuf *ret)
{
	for (size_t i = 0; i < doctor->n_hooks; i++) {
		unsigned n = 0;
		bool first = egress_place(doctor, i) == place;

		for (size_t k = 0; k < doctor->n_hooks && first; k++) {
			if (strcmp(doctor->hooks[k].name, doctor->hooks[i].name) ||
			    egress_place(doctor, k) != place)
				continue;
			first = k >= i;
			n++;
		}
		if (first)
			strbuf_addf(ret, "%s%s (egress of %u)", ret->len ? ", " : "",
				    doctor->hooks[i].name, n);
	}
}

static void check_egress(struct doctor *doctor)
{
	struct strbuf before = {}, after = {};

	list_egress(doctor, EGRESS_BEFORE, &before);
	list_egress(doctor, EGRESS_CLSACT_AFTER, &after);
	if (before.len)
		doctor_row(doctor, "egress_order", DOCTOR_WARN,
			   "if it ends the chain (returns TC_ACT_OK, not TC_ACT_UNSPEC), replies "
			   "never reach us, and connects to VIPs hang: `sluice flow show` then has "
			   "flows in state syn alone",
			   "before us: %s", before.data);
	else if (after.len)
		doctor_row(doctor, "egress_order", DOCTOR_INFO,
			   "it runs after us and sees the VIP as source of replies, not the replica: "
			   "what it decides by that address must allow the VIP",
			   "clsact behind our tcx: %s", after.data);
	else
		doctor_row(doctor, "egress_order", DOCTOR_OK, NULL, "nobody before us");
	strbuf_done(&before);
	strbuf_done(&after);
}

/* ---- the order ---------------------------------------------------------------------- */

/* At one hook ours must be first at ingress and last at egress, among programs of its kind. */
static bool is_misplaced(const struct doctor *doctor, size_t at)
{
	const struct doctor_hook *ours = &doctor->hooks[at], *hook;

	for (size_t i = 0; i < doctor->n_hooks; i++) {
		hook = &doctor->hooks[i];
		if (hook->ours || hook->link != ours->link || hook->egress != ours->egress ||
		    hook->tcx != ours->tcx)
			continue;
		if (ours->egress ? i > at : i < at)
			return true;
	}
	return false;
}

static void check_order(struct doctor *doctor)
{
	struct strbuf wrong = {};
	unsigned n = 0;

	for (size_t i = 0; i < doctor->n_hooks; i++) {
		n += doctor->hooks[i].ours;
		if (doctor->hooks[i].ours && is_misplaced(doctor, i))
			strbuf_addf(&wrong, "%s%s %s", wrong.len ? ", " : "",
				    doctor->hooks[i].link->name,
				    doctor->hooks[i].egress ? "egress" : "ingress");
	}
	if (wrong.len)
		doctor_row(
			doctor, "program_order", DOCTOR_WARN,
			"someone attached before us at ingress or after us at egress, and a "
			"restart "
			"of sluiced leaves our programs where they are: move the other program, or "
			"`sluiced --unload` and start it again, which loses open flows",
			"out of order at %s", wrong.data);
	else
		doctor_row(doctor, "program_order", DOCTOR_OK, NULL,
			   n ? "ours are first at ingress, last at egress (%u)"
			     : "%u of our programs attached",
			   n);
	strbuf_done(&wrong);
}

/* ---- XDP at the uplinks -------------------------------------------------------------- */

static bool is_our_program(const struct doctor *doctor, __u32 id)
{
	for (size_t i = 0; i < doctor->n_programs; i++)
		if (doctor->programs[i].id == id)
			return true;
	return false;
}

/* Adds ", eth0 (why)" to where it belongs: with ours, without, or with somebody else's. */
static int sort_uplink(const struct doctor *doctor, const struct route_link *link,
		       struct strbuf *ours, struct strbuf *without, struct strbuf *others)
{
	struct xdp_place place;
	int err = xdp_query(link->ifindex, &place);

	if (err)
		return err == -ENODEV ? 0 : err;
	if (is_our_program(doctor, place.program))
		strbuf_addf(ours, "%s%s", ours->len ? ", " : "", link->name);
	else if (place.program)
		strbuf_addf(others, "%s%s (%s, id %u)", others->len ? ", " : "", link->name,
			    place.name, place.program);
	else
		strbuf_addf(without, "%s%s%s%s%s", without->len ? ", " : "", link->name,
			    link->kind[0] ? " (a " : "", link->kind, link->kind[0] ? ")" : "");
	return 0;
}

static void say_xdp(struct doctor *doctor, const struct strbuf *ours, const struct strbuf *without,
		    const struct strbuf *others)
{
	bool asked = !doctor->maps_err && doctor->maps.control->xdp == SL_XDP_ON;

	if (others->len)
		doctor_row(doctor, "xdp", asked ? DOCTOR_WARN : DOCTOR_INFO,
			   "TC does the work all the same; for ours, remove that program and restart "
			   "sluiced", "somebody else's program at %s", others->data);
	else if (without->len)
		doctor_row(doctor, "xdp", asked ? DOCTOR_WARN : DOCTOR_INFO,
			   asked ? "`sluice event show` says why (no_xdp); TC does the work all the same" :
				   NULL,
			   "not used at %s%s%s", without->data, ours->len ? ", used at " : "",
			   ours->len ? ours->data : "");
	else if (ours->len)
		doctor_row(doctor, "xdp", DOCTOR_OK, NULL, "native at %s", ours->data);
}

static void check_xdp(struct doctor *doctor)
{
	struct strbuf ours = {}, without = {}, others = {};
	int err = 0;

	for (size_t i = 0; !err && i < doctor->n_links; i++)
		if (doctor_is_link(doctor, &doctor->links[i], DOCTOR_UPLINK))
			err = sort_uplink(doctor, &doctor->links[i], &ours, &without, &others);
	if (err)
		doctor_row(doctor, "xdp", DOCTOR_WARN, NULL, "cannot ask: %s", strerror(-err));
	else
		say_xdp(doctor, &ours, &without, &others);
	strbuf_done(&ours);
	strbuf_done(&without);
	strbuf_done(&others);
}

/* ---- our own links ----------------------------------------------------------------- */

/* Whether the link is at the interface that its pin names. */
static bool is_at_its_interface(const struct pin *pin)
{
	char wanted[IF_NAMESIZE], actual[IF_NAMESIZE];

	return pin->ifindex && pins_link_interface(pin->name, wanted) &&
	       if_indextoname(pin->ifindex, actual) && !strcmp(wanted, actual);
}

static void note_stale(void *context, const struct pin *pin)
{
	struct strbuf *paths = context;

	if (pin->kind == PIN_LINK && !is_at_its_interface(pin))
		strbuf_addf(paths, " %s", pin->path);
}

static void check_stale(struct doctor *doctor)
{
	struct strbuf paths = {}, advice = {};
	int err = pins_list(doctor->cli->bpffs, note_stale, &paths);

	if (err == -EPERM || err == -EACCES) {
		doctor_row_needs_root(doctor, "stale_links");
	} else if (paths.len) {
		strbuf_addf(&advice, "sluiced removes them at its start; by hand: rm%s",
			    paths.data);
		doctor_row(doctor, "stale_links", DOCTOR_WARN, advice.data,
			   "links to interfaces that are gone or have another name:%s", paths.data);
	} else {
		doctor_row(doctor, "stale_links", DOCTOR_OK, NULL, "none");
	}
	strbuf_done(&paths);
	strbuf_done(&advice);
}

void doctor_check_hooks(struct doctor *doctor)
{
	if (doctor->hooks_err == -EPERM) {
		doctor_row_needs_root(doctor, "other_programs");
		doctor_row_needs_root(doctor, "egress_order");
		doctor_row_needs_root(doctor, "program_order");
	} else if (doctor->hooks_err) {
		doctor_row(doctor, "other_programs", DOCTOR_WARN, NULL, "cannot list: %s",
			   strerror(-doctor->hooks_err));
	} else {
		check_others(doctor);
		check_egress(doctor);
		check_order(doctor);
		check_xdp(doctor);
	}
	check_stale(doctor);
}
