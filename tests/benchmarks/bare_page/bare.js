// As little as a page can have that is connected: what is beyond this is the client, and the game.
const socket = new WebSocket(`ws://${location.host}/`, "pgnet.2.1");
socket.onopen = () => (document.getElementById("news").textContent = "connected");
