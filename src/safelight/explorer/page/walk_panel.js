/** The way from A to B, as a filmstrip and as a film. */

import { announce, button, h, isStill, slider } from "./dom.js";
import { frame, paint } from "./pictures.js";
import { newest } from "./state.js";

const FRAMES = 12;
const SECONDS = 4;

/** @param {import("./state.js").App} app */
export function walkPanel(app) {
  const { engine } = app;
  const { shape, has_flow: hasFlow } = app.contents.header;
  const hint = h("p", { className: "muted" }, wanted([null, null], hasFlow));
  const scene = frame("the image at this step of the walk");
  const strip = h("div", { className: "strip" });
  const step = h("output", {}, "");
  let playing = 0;

  const show = newest(async (/** @type {number} */ t) => {
    const [a, b] = app.ends.get();
    if (!a || !b) return;
    const code = await engine.walk(a, b, [t]);
    paint(scene, await engine.decode(code), shape);
    step.textContent = `${Math.round(100 * t)} %`;
    app.code.set(code);
  });
  const scrub = slider("Step", { min: 0, max: 1, step: 0.01, value: 0 }, (t) => {
    stop();
    void show(t);
  });
  const play = button("Play", () => (playing ? stop() : start()), { "aria-pressed": "false" });

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  function start() {
    const from = scrub.input.valueAsNumber < 1 ? scrub.input.valueAsNumber : 0;
    const begin = performance.now() - from * SECONDS * 1000;
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    const tick = () => {
      const t = Math.min(1, (performance.now() - begin) / (SECONDS * 1000));
      const shown = isStill() ? Math.round(t * (FRAMES - 1)) / (FRAMES - 1) : t;
      scrub.input.valueAsNumber = shown;
      void show(shown);
      if (t < 1) playing = requestAnimationFrame(tick);
      else stop();
    };
    playing = requestAnimationFrame(tick);
  }

  const controls = h(
    "div",
    { hidden: true },
    h("div", { className: "pair" }, h("figure", {}, scene, h("figcaption", {}, step))),
    scrub.label,
    h(
      "div",
      { className: "row" },
      play,
      button("Turn around", () => app.ends.set([...app.ends.get()].reverse())),
      button("Forget both", () => app.ends.set([null, null])),
    ),
    strip,
  );

  app.ends.watch(([a, b]) => {
    stop();
    controls.hidden = !(a && b);
    hint.textContent = wanted([a, b], hasFlow);
    if (!a || !b) return;
    scrub.input.valueAsNumber = 0;
    void show(0);
    const shares = Array.from({ length: FRAMES }, (_, i) => i / (FRAMES - 1));
    void engine.walk(a, b, shares).then((codes) => engine.decode(codes)).then((pixels) => {
      const size = pixels.length / FRAMES;
      strip.replaceChildren(
        ...Array.from({ length: FRAMES }, (_, i) => {
          const jump = button("", () => {
            stop();
            scrub.input.valueAsNumber = i / (FRAMES - 1);
            void show(i / (FRAMES - 1));
          }, { className: "image", "aria-label": `step ${i + 1} of ${FRAMES}` });
          jump.append(paint(frame(), pixels.subarray(i * size, (i + 1) * size), shape));
          return jump;
        }),
      );
      announce(`A walk of ${FRAMES} steps`);
    }, () => {});
  });
  return h("div", {}, hint, controls);
}

/**
 * What is still to be chosen.
 * @param {(Float32Array | null)[]} ends
 * @param {boolean} hasFlow
 */
function wanted([a, b], hasFlow) {
  if (a && b && hasFlow) return "The way is straight where the learned prior is normal: it bends around unlikely codes.";
  if (a && b) return "The way turns from the direction of A's code to that of B's at an even pace.";
  if (a) return "A is set. Choose B, where the walk ends.";
  if (b) return "B is set. Choose A, where the walk begins.";
  return "Choose two points: A, where the walk begins, and B, where it ends. Or drag from one to the other with the tool Walk.";
}
