"use strict";
(() => {
	const root = document.documentElement;
	root.classList.add("script");
	const chart = document.getElementById("chart"), panel = document.getElementById("panel"), cross = chart.querySelector(".cross");
	const shown = document.getElementById("shown"), zoom = document.getElementById("zoom");
	let current = null;

	// Facts stand in titles, for browsers without a script. With one they are shown below, and the browser's own boxes would be in the way.
	const facts = new Map();
	const rows = [];
	for (const plot of chart.querySelectorAll(".plot")) {
		const marks = [...plot.querySelectorAll(":scope > .mark, :scope > .fact")].filter((m) => m.firstElementChild);
		if (!marks.length) continue;
		for (const m of marks) {
			facts.set(m, m.firstElementChild.textContent);
			m.firstElementChild.remove();
		}
		const at = marks.map((m) => parseFloat(m.getAttribute("x")) / 100);
		const to = marks.map((m, i) => at[i] + parseFloat(m.getAttribute("width") || "0") / 100);
		rows.push({ plot, marks, at, to });
		plot.setAttribute("tabindex", "0");
	}

	const show = (row, i, scroll) => {
		const mark = row.marks[i];
		if (current === mark) return;
		current?.classList.remove("on");
		current = mark;
		mark.classList.add("on");
		const list = document.createElement("dl");
		for (const line of facts.get(mark).split("\n")) {
			const cut = line.indexOf(": ");
			const fact = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
			name.textContent = line.slice(0, cut);
			value.textContent = line.slice(cut + 2);
			fact.append(name, value);
			list.append(fact);
		}
		panel.replaceChildren(list);
		for (const pod of chart.querySelectorAll(".charged")) pod.classList.remove("charged");
		if (mark.dataset.p !== undefined) chart.querySelector(`.pod[data-pod="${mark.dataset.p}"]`)?.classList.add("charged");
		place(row, i);
		if (scroll) reveal();
	};
	const place = (row, i) => {
		const box = row.plot.getBoundingClientRect(), rest = cross.parentElement.getBoundingClientRect();
		cross.style.display = "block";
		cross.style.left = `${box.left - rest.left + row.at[i] * box.width}px`;
	};
	// What is looked at stays in view.
	const reveal = () => {
		const x = parseFloat(cross.style.left), gutter = chart.querySelector(".label").offsetWidth;
		if (x < chart.scrollLeft + gutter || x > chart.scrollLeft + chart.clientWidth - 20) chart.scrollLeft = x - (chart.clientWidth + gutter) / 2;
	};
	const here = () => {
		for (const row of rows) {
			const i = row.marks.indexOf(current);
			if (i >= 0) return [row, i];
		}
		return null;
	};

	for (const row of rows) {
		const near = (event) => {
			const box = row.plot.getBoundingClientRect(), x = (event.clientX - box.left) / box.width, reach = 14 / box.width;
			let best = -1, least = reach;
			for (let i = 0; i < row.at.length; i++) {
				const off = x < row.at[i] ? row.at[i] - x : x > row.to[i] ? x - row.to[i] : 0;
				if (off < least) [best, least] = [i, off];
			}
			if (best >= 0) show(row, best);
		};
		row.plot.addEventListener("pointermove", near);
		row.plot.addEventListener("click", near);
		row.plot.addEventListener("focus", () => {
			if (row.plot.matches(":focus-visible")) show(row, Math.max(0, row.marks.indexOf(current)), true);
		});
		row.plot.addEventListener("keydown", (event) => {
			const i = row.marks.indexOf(current), last = row.marks.length - 1;
			const next = { ArrowLeft: Math.max(0, i - 1), ArrowRight: Math.min(last, i + 1), Home: 0, End: last }[event.key];
			if (next === undefined) return;
			event.preventDefault();
			show(row, next, true);
		});
	}

	const filter = () => {
		const off = (id) => new Set([...document.querySelectorAll(`#${id} input:not(:checked)`)].map((box) => box.value));
		const lanes = off("lanes"), phases = off("phases");
		let count = 0, all = 0;
		for (const lane of chart.querySelectorAll(".lane")) {
			lane.hidden = lanes.has(lane.dataset.lane);
			for (const row of lane.querySelectorAll(".dropped")) {
				row.hidden = phases.has(row.dataset.phase);
				all += Number(row.dataset.n);
				if (!lane.hidden && !row.hidden) count += Number(row.dataset.n);
			}
		}
		shown.textContent = `${count} of ${all} dropped requests shown`;
	};
	if (shown) {
		document.getElementById("lanes").addEventListener("change", filter);
		document.getElementById("phases")?.addEventListener("change", filter);
		filter();
		zoom.addEventListener("change", () => {
			const middle = (chart.scrollLeft + chart.clientWidth / 2) / chart.scrollWidth;
			root.style.setProperty("--zoom", zoom.value);
			root.classList.toggle("zoomed", zoom.value >= 5);
			const found = here();
			if (found) {
				place(...found);
				reveal();
			} else chart.scrollLeft = middle * chart.scrollWidth - chart.clientWidth / 2;
		});
		zoom.dispatchEvent(new Event("change")); // a browser that goes back keeps what was chosen
	}
	addEventListener("resize", () => {
		const found = here();
		if (found) place(...found);
	});
})();
