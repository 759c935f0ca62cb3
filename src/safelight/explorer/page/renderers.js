/** Points on a canvas: by WebGL2 where a GPU draws it, else pixel by pixel. */

/**
 * @typedef {object} Renderer
 * @property {string} name
 * @property {() => boolean} isLost whether it can draw no more
 * @property {(places: Float32Array, colours: Uint32Array, radius: number) => void} draw places are (N, 3): x and
 *   y in pixels of the canvas, and a depth from -1, near, to 1
 */

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;
const VERTEX = `#version 300 es
in vec3 place; in vec4 colour; uniform vec2 size; uniform float diameter; out vec4 tone;
void main() {
  gl_Position = vec4(place.x / size.x * 2.0 - 1.0, 1.0 - place.y / size.y * 2.0, place.z, 1.0);
  gl_PointSize = diameter;
  tone = colour;
}`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec4 tone; out vec4 result;
void main() {
  float r = length(gl_PointCoord - 0.5);
  if (r > 0.5) discard;
  result = vec4(tone.rgb * tone.a, tone.a);
}`;

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Renderer}
 */
export function makeRenderer(canvas) {
  const gl = hasGPU() ? canvas.getContext("webgl2") : null;
  return gl ? withWebGL(canvas, gl) : withPixels(canvas);
}

/** Whether a GPU draws. Without one, browsers offer a WebGL2 in software, a tenth as quick as setting pixels. */
function hasGPU() {
  const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  const about = gl?.getExtension("WEBGL_debug_renderer_info");
  const name = gl && about ? String(gl.getParameter(about.UNMASKED_RENDERER_WEBGL)) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return gl !== null && !SOFTWARE.test(name);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {WebGL2RenderingContext} gl
 * @returns {Renderer}
 */
function withWebGL(canvas, gl) {
  const program = gl.createProgram();
  for (const [kind, source] of /** @type {const} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  const [places, colours] = [gl.createBuffer(), gl.createBuffer()];
  const [place, colour] = ["place", "colour"].map((name) => gl.getAttribLocation(program, name));
  const [size, diameter] = ["size", "diameter"].map((name) => gl.getUniformLocation(program, name));
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  gl.enable(gl.DEPTH_TEST);
  gl.depthFunc(gl.LEQUAL);
  gl.enableVertexAttribArray(place);
  gl.enableVertexAttribArray(colour);
  return {
    name: "WebGL2",
    isLost: () => gl.isContextLost(),
    draw(xyz, rgba, radius) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.bindBuffer(gl.ARRAY_BUFFER, places);
      gl.bufferData(gl.ARRAY_BUFFER, xyz, gl.DYNAMIC_DRAW);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, colours);
      gl.bufferData(gl.ARRAY_BUFFER, rgba, gl.DYNAMIC_DRAW);
      gl.vertexAttribPointer(colour, 4, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.uniform2f(size, canvas.width, canvas.height);
      gl.uniform1f(diameter, 2 * radius);
      gl.drawArrays(gl.POINTS, 0, rgba.length);
    },
  };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Renderer}
 */
export function withPixels(canvas) {
  const context = canvas.getContext("2d");
  let image = new ImageData(1, 1);
  let pixels = new Uint32Array(image.data.buffer);
  return {
    name: "Canvas",
    isLost: () => false,
    draw(xyz, rgba, radius) {
      const { width, height } = canvas;
      if (image.width !== width || image.height !== height) {
        image = new ImageData(width, height);
        pixels = new Uint32Array(image.data.buffer);
      }
      pixels.fill(0);
      const reach = Math.ceil(radius);
      /** @type {number[]} */
      const disc = []; // offsets of a point's pixels, in pairs
      for (let y = -reach; y <= reach; y++) {
        for (let x = -reach; x <= reach; x++) if (x * x + y * y <= radius * radius) disc.push(x, y);
      }
      for (let i = 0; i < rgba.length; i++) {
        const [x, y] = [Math.round(xyz[3 * i]), Math.round(xyz[3 * i + 1])];
        if (!(x >= reach && y >= reach && x < width - reach && y < height - reach)) continue;
        for (let k = 0; k < disc.length; k += 2) pixels[(y + disc[k + 1]) * width + x + disc[k]] = rgba[i];
      }
      context?.putImageData(image, 0, 0);
    },
  };
}
